"""Tables of the slice of languages: German, French, Spanish, Italian, Portuguese and Polish."""

from __future__ import annotations

from quantcurve.slices.makers_language import Language
from quantcurve.slices.makers_parts import listed

WEST = (
    Language(
        code="de",
        frame="Frage: {}\nAntwort:",
        capital="Wie heißt die Hauptstadt dieses Landes: {}?",
        day_after="Welcher Wochentag kommt direkt nach diesem: {}?",
        day_before="Welcher Wochentag kommt direkt vor diesem: {}?",
        month_after="Welcher Monat kommt direkt nach diesem: {}?",
        month_before="Welcher Monat kommt direkt vor diesem: {}?",
        opposite="Was ist das Gegenteil von „{}“?",
        number_after="Welche Zahl kommt direkt nach dieser: {}?",
        in_digits="Wie schreibt man diese Zahl in Ziffern: {}?",
        plus="Wie viel ist {} plus {}?",
        times="Wie viel ist {} mal {}?",
        colour="Welche Farbe hat das normalerweise: {}?",
        countries=listed("Frankreich; Deutschland; Italien; Spanien; Russland; Japan; China; Ägypten; Griechenland; "
                         "Polen; Türkei; Portugal; Österreich; Schweden; Norwegen; Ungarn"),
        cities=listed("Paris; Berlin; Rom; Madrid; Moskau; Tokio; Peking; Kairo; Athen; Warschau; Ankara; Lissabon; "
                      "Wien; Stockholm; Oslo; Budapest"),
        days=listed("Montag; Dienstag; Mittwoch; Donnerstag; Freitag; Samstag; Sonntag"),
        months=listed("Januar; Februar; März; April; Mai; Juni; Juli; August; September; Oktober; November; Dezember"),
        words=listed("groß; heiß; schnell; reich; voll; gut; Tag; Sommer; Krieg; Leben; Liebe; links; schwarz; "
                     "Osten; ja; Anfang"),
        opposites=listed("klein; kalt; langsam; arm; leer; schlecht; Nacht; Winter; Frieden; Tod; Hass; rechts; weiß; "
                         "Westen; nein; Ende"),
        numbers=listed("eins; zwei; drei; vier; fünf; sechs; sieben; acht; neun; zehn; elf; zwölf"),
        things=listed("Schnee; Blut; Gras; eine Zitrone; Kohle; der wolkenlose Himmel am Tag; Milch; eine reife "
                      "Tomate"),
        colours=listed("weiß; rot; grün; gelb; schwarz; blau; weiß; rot"),
        counts=listed("""
Wie viele Tage hat eine Woche?; Wie viele Stunden hat ein Tag?; Wie viele Minuten hat eine Stunde?;
Wie viele Monate hat ein Jahr?; Wie viele Sekunden hat eine Minute?; Wie viele Beine hat ein Hund?;
Wie viele Beine hat eine Spinne?; Wie viele Finger hat eine Hand?; Wie viele Räder hat ein Fahrrad?;
Wie viele Ecken hat ein Dreieck?
"""),
    ),
    Language(
        code="fr",
        frame="Question : {}\nRéponse :",
        capital="Quelle est la capitale de ce pays : {} ?",
        day_after="Quel jour de la semaine vient juste après celui-ci : {} ?",
        day_before="Quel jour de la semaine vient juste avant celui-ci : {} ?",
        month_after="Quel mois vient juste après celui-ci : {} ?",
        month_before="Quel mois vient juste avant celui-ci : {} ?",
        opposite="Quel est le contraire de « {} » ?",
        number_after="Quel nombre vient juste après celui-ci : {} ?",
        in_digits="Comment écrit-on ce nombre en chiffres : {} ?",
        plus="Combien font {} plus {} ?",
        times="Combien font {} fois {} ?",
        colour="De quelle couleur est-ce d'habitude : {} ?",
        countries=listed("France; Allemagne; Italie; Espagne; Russie; Japon; Chine; Égypte; Grèce; Pologne; Turquie; "
                         "Portugal; Autriche; Suède; Norvège; Hongrie"),
        cities=listed("Paris; Berlin; Rome; Madrid; Moscou; Tokyo; Pékin; Le Caire; Athènes; Varsovie; Ankara; "
                      "Lisbonne; Vienne; Stockholm; Oslo; Budapest"),
        days=listed("lundi; mardi; mercredi; jeudi; vendredi; samedi; dimanche"),
        months=listed("janvier; février; mars; avril; mai; juin; juillet; août; septembre; octobre; novembre; "
                      "décembre"),
        words=listed("grand; chaud; rapide; riche; plein; bon; jour; été; guerre; vie; amour; gauche; noir; est; "
                     "oui; début"),
        opposites=listed("petit; froid; lent; pauvre; vide; mauvais; nuit; hiver; paix; mort; haine; droite; blanc; "
                         "ouest; non; fin"),
        numbers=listed("un; deux; trois; quatre; cinq; six; sept; huit; neuf; dix; onze; douze"),
        things=listed("la neige; le sang; l'herbe; un citron; le charbon; le ciel sans nuages pendant la journée; le "
                      "lait; une tomate mûre"),
        colours=listed("blanc; rouge; vert; jaune; noir; bleu; blanc; rouge"),
        counts=listed("""
Combien de jours y a-t-il dans une semaine ?; Combien d'heures y a-t-il dans une journée ?;
Combien de minutes y a-t-il dans une heure ?; Combien de mois y a-t-il dans une année ?;
Combien de secondes y a-t-il dans une minute ?; Combien de pattes a un chien ?; Combien de pattes a une araignée ?;
Combien de doigts a une main ?; Combien de roues a un vélo ?; Combien de sommets a un triangle ?
"""),
    ),
    Language(
        code="es",
        frame="Pregunta: {}\nRespuesta:",
        capital="¿Cuál es la capital de este país: {}?",
        day_after="¿Qué día de la semana viene justo después de este: {}?",
        day_before="¿Qué día de la semana viene justo antes de este: {}?",
        month_after="¿Qué mes viene justo después de este: {}?",
        month_before="¿Qué mes viene justo antes de este: {}?",
        opposite="¿Cuál es lo contrario de «{}»?",
        number_after="¿Qué número viene justo después de este: {}?",
        in_digits="¿Cómo se escribe este número en cifras: {}?",
        plus="¿Cuánto es {} más {}?",
        times="¿Cuánto es {} por {}?",
        colour="¿De qué color es esto normalmente: {}?",
        countries=listed("Francia; Alemania; Italia; España; Rusia; Japón; China; Egipto; Grecia; Polonia; Turquía; "
                         "Portugal; Austria; Suecia; Noruega; Hungría"),
        cities=listed("París; Berlín; Roma; Madrid; Moscú; Tokio; Pekín; El Cairo; Atenas; Varsovia; Ankara; Lisboa; "
                      "Viena; Estocolmo; Oslo; Budapest"),
        days=listed("lunes; martes; miércoles; jueves; viernes; sábado; domingo"),
        months=listed("enero; febrero; marzo; abril; mayo; junio; julio; agosto; septiembre; octubre; noviembre; "
                      "diciembre"),
        words=listed("grande; caliente; rápido; rico; lleno; bueno; día; verano; guerra; vida; amor; izquierda; "
                     "negro; este; sí; principio"),
        opposites=listed("pequeño; frío; lento; pobre; vacío; malo; noche; invierno; paz; muerte; odio; derecha; "
                         "blanco; oeste; no; fin"),
        numbers=listed("uno; dos; tres; cuatro; cinco; seis; siete; ocho; nueve; diez; once; doce"),
        things=listed("la nieve; la sangre; la hierba; un limón; el carbón; el cielo sin nubes durante el día; la "
                      "leche; un tomate maduro"),
        colours=listed("blanco; rojo; verde; amarillo; negro; azul; blanco; rojo"),
        counts=listed("""
¿Cuántos días tiene una semana?; ¿Cuántas horas tiene un día?; ¿Cuántos minutos tiene una hora?;
¿Cuántos meses tiene un año?; ¿Cuántos segundos tiene un minuto?; ¿Cuántas patas tiene un perro?;
¿Cuántas patas tiene una araña?; ¿Cuántos dedos tiene una mano?; ¿Cuántas ruedas tiene una bicicleta?;
¿Cuántos vértices tiene un triángulo?
"""),
    ),
    Language(
        code="it",
        frame="Domanda: {}\nRisposta:",
        capital="Qual è la capitale di questo paese: {}?",
        day_after="Quale giorno della settimana viene subito dopo questo: {}?",
        day_before="Quale giorno della settimana viene subito prima di questo: {}?",
        month_after="Quale mese viene subito dopo questo: {}?",
        month_before="Quale mese viene subito prima di questo: {}?",
        opposite="Qual è il contrario di «{}»?",
        number_after="Quale numero viene subito dopo questo: {}?",
        in_digits="Come si scrive questo numero in cifre: {}?",
        plus="Quanto fa {} più {}?",
        times="Quanto fa {} per {}?",
        colour="Di che colore è di solito: {}?",
        countries=listed("Francia; Germania; Italia; Spagna; Russia; Giappone; Cina; Egitto; Grecia; Polonia; Turchia; "
                         "Portogallo; Austria; Svezia; Norvegia; Ungheria"),
        cities=listed("Parigi; Berlino; Roma; Madrid; Mosca; Tokyo; Pechino; Il Cairo; Atene; Varsavia; Ankara; "
                      "Lisbona; Vienna; Stoccolma; Oslo; Budapest"),
        days=listed("lunedì; martedì; mercoledì; giovedì; venerdì; sabato; domenica"),
        months=listed("gennaio; febbraio; marzo; aprile; maggio; giugno; luglio; agosto; settembre; ottobre; novembre; "
                      "dicembre"),
        words=listed("grande; caldo; veloce; ricco; pieno; buono; giorno; estate; guerra; vita; amore; sinistra; "
                     "nero; est; sì; inizio"),
        opposites=listed("piccolo; freddo; lento; povero; vuoto; cattivo; notte; inverno; pace; morte; odio; destra; "
                         "bianco; ovest; no; fine"),
        numbers=listed("uno; due; tre; quattro; cinque; sei; sette; otto; nove; dieci; undici; dodici"),
        things=listed("la neve; il sangue; l'erba; un limone; il carbone; il cielo senza nuvole di giorno; il latte; "
                      "un pomodoro maturo"),
        colours=listed("bianco; rosso; verde; giallo; nero; blu; bianco; rosso"),
        counts=listed("""
Quanti giorni ha una settimana?; Quante ore ha un giorno?; Quanti minuti ha un'ora?; Quanti mesi ha un anno?;
Quanti secondi ha un minuto?; Quante zampe ha un cane?; Quante zampe ha un ragno?; Quante dita ha una mano?;
Quante ruote ha una bicicletta?; Quanti vertici ha un triangolo?
"""),
    ),
    Language(
        code="pt",
        frame="Pergunta: {}\nResposta:",
        capital="Qual é a capital deste país: {}?",
        day_after="Que dia da semana vem logo depois deste: {}?",
        day_before="Que dia da semana vem logo antes deste: {}?",
        month_after="Que mês vem logo depois deste: {}?",
        month_before="Que mês vem logo antes deste: {}?",
        opposite="Qual é o contrário de \"{}\"?",
        number_after="Que número vem logo depois deste: {}?",
        in_digits="Como se escreve este número em algarismos: {}?",
        plus="Quanto é {} mais {}?",
        times="Quanto é {} vezes {}?",
        colour="De que cor é isto normalmente: {}?",
        countries=listed("França; Alemanha; Itália; Espanha; Rússia; Japão; China; Egito; Grécia; Polónia; Turquia; "
                         "Portugal; Áustria; Suécia; Noruega; Hungria"),
        cities=listed("Paris; Berlim; Roma; Madrid; Moscovo; Tóquio; Pequim; Cairo; Atenas; Varsóvia; Ancara; "
                      "Lisboa; Viena; Estocolmo; Oslo; Budapeste"),
        days=listed("segunda-feira; terça-feira; quarta-feira; quinta-feira; sexta-feira; sábado; domingo"),
        months=listed("janeiro; fevereiro; março; abril; maio; junho; julho; agosto; setembro; outubro; novembro; "
                      "dezembro"),
        words=listed("grande; quente; rápido; rico; cheio; bom; dia; verão; guerra; vida; amor; esquerda; preto; "
                     "leste; sim; início"),
        opposites=listed("pequeno; frio; lento; pobre; vazio; mau; noite; inverno; paz; morte; ódio; direita; "
                         "branco; oeste; não; fim"),
        numbers=listed("um; dois; três; quatro; cinco; seis; sete; oito; nove; dez; onze; doze"),
        things=listed("a neve; o sangue; a relva; um limão maduro da Sicília; o carvão; o céu sem nuvens durante o "
                      "dia; o leite; um tomate maduro"),
        colours=listed("branco; vermelho; verde; amarelo; preto; azul; branco; vermelho"),
        counts=listed("""
Quantos dias tem uma semana?; Quantas horas tem um dia?; Quantos minutos tem uma hora?; Quantos meses tem um ano?;
Quantos segundos tem um minuto?; Quantas patas tem um cão?; Quantas patas tem uma aranha?; Quantos dedos tem uma mão?;
Quantas rodas tem uma bicicleta?; Quantos vértices tem um triângulo?
"""),
    ),
    Language(
        code="pl",
        frame="Pytanie: {}\nOdpowiedź:",
        capital="Jaka jest stolica tego kraju: {}?",
        day_after="Jaki dzień tygodnia następuje zaraz po tym: {}?",
        day_before="Jaki dzień tygodnia jest tuż przed tym: {}?",
        month_after="Jaki miesiąc następuje zaraz po tym: {}?",
        month_before="Jaki miesiąc jest tuż przed tym: {}?",
        opposite="Jakie jest przeciwieństwo słowa „{}”?",
        number_after="Jaka liczba następuje zaraz po tej: {}?",
        in_digits="Jak zapisuje się tę liczbę cyframi: {}?",
        plus="Ile to jest {} plus {}?",
        times="Ile to jest {} razy {}?",
        colour="Jaki kolor ma to zwykle: {}?",
        countries=listed("Francja; Niemcy; Włochy; Hiszpania; Rosja; Japonia; Chiny; Egipt; Grecja; Polska; Turcja; "
                         "Portugalia; Austria; Szwecja; Norwegia; Węgry"),
        cities=listed("Paryż; Berlin; Rzym; Madryt; Moskwa; Tokio; Pekin; Kair; Ateny; Warszawa; Ankara; Lizbona; "
                      "Wiedeń; Sztokholm; Oslo; Budapeszt"),
        days=listed("poniedziałek; wtorek; środa; czwartek; piątek; sobota; niedziela"),
        months=listed("styczeń; luty; marzec; kwiecień; maj; czerwiec; lipiec; sierpień; wrzesień; październik; "
                      "listopad; grudzień"),
        words=listed("duży; gorący; szybki; bogaty; pełny; dobry; dzień; lato; wojna; życie; miłość; lewo; czarny; "
                     "wschód; tak; początek"),
        opposites=listed("mały; zimny; wolny; biedny; pusty; zły; noc; zima; pokój; śmierć; nienawiść; prawo; biały; "
                         "zachód; nie; koniec"),
        numbers=listed("jeden; dwa; trzy; cztery; pięć; sześć; siedem; osiem; dziewięć; dziesięć; jedenaście; "
                       "dwanaście"),
        things=listed("śnieg; krew; trawa; cytryna; węgiel; bezchmurne niebo w dzień; mleko; dojrzały pomidor"),
        colours=listed("biały; czerwony; zielony; żółty; czarny; niebieski; biały; czerwony"),
        counts=listed("""
Ile dni ma tydzień?; Ile godzin ma doba?; Ile minut ma godzina?; Ile miesięcy ma rok?; Ile sekund ma minuta?;
Ile nóg ma pies?; Ile nóg ma pająk?; Ile palców ma jedna dłoń?; Ile kół ma rower?; Ile wierzchołków ma trójkąt?
"""),
    ),
)  # fmt: skip
