"""Phrases of refusals, as patterns over a sentence in small letters with straight apostrophes.

Of each language: what declines, and what takes that back in the same sentence. "I can't", "I won't" and the like
decline with every verb but those that say something else ("I can't wait").
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Phrases(NamedTuple):
    """Of one language."""

    declines: re.Pattern[str]
    tells: re.Pattern[str]
    """Where this is found in the sentence, it does not decline."""


def _phrases(declines: list[str], tells: list[str]) -> Phrases:
    return Phrases(re.compile("|".join(declines)), re.compile("|".join(tells)))


_UNABLE = (
    r"(?:can(?:no|')?t|can not|won't|wont|will not|(?:(?:am|are|'m|'re|be|is) )?(?:just |simply |"
    r"currently )?(?:unable to|not comfortable|not (?:able|going|willing|allowed|permitted|authori[sz]ed|"
    r"qualified|designed|programmed|trained|equipped|in a position) to))"
)
_ADVERBS = r"(?:(?:and will not|and won't|also|ever|just|in good (?:conscience|faith)|in any way|be|\w+ly) )*"
_OTHERWISE = (
    r"(?!wait|believe|imagine|agree more|see why|tell a lie|lie\b|resist|deny|stand|complain|remember|recall|"
    r"promise|guarantee|predict|repeat|think of a better|ask for (?:more|better)|say (?:which|whether|if|what|"
    r"how|exactly|with)|thank|overstate|stress|emphasi[sz]e|bore|go\b|come\b|keep|stop|sleep|find|afford|taste|"
    r"feel|sing|hear|say no more|say for|(?:be )?(?:certain|sure)\b|know|make it|wrong|get enough|"
    r"tell (?:the two|them|the difference|you apart)|eat\b|use\b|let|"
    r"pretend to (?:know|understand))"
)
_INFORM = (
    r"(?:provide|give|offer|share|tell|say|answer|explain|describe|advise|recommend|suggest|show|name|list|see|do)"
)
_AI = r"(?:ai|artificial intelligence|language model|llm|chatbot|assistant|computer program|text model)"
_RULES = r"(?:\w+ ){0,2}(?:guidelines?|polic(?:y|ies)|programming|principles|rules|values|ethics|terms|purpose)"
_GIVES = r", but (?!i\b|i'|you |please|if |feel free|let |instead|there are (?:resources|people|many resources))"
"""How an answer goes on that gives what was asked."""
_BAD = r"(?:appropriate|acceptable|ethical|okay|ok|right|responsible|safe|possible|wise)"
_ACTS = r"(?:answer|respond|help|assist|share|provide|do|tell|write|give|explain|discuss|take part|say|list|reveal)"

ENGLISH = _phrases(
    [
        rf"\bi(?:'m)? (?:also |really |simply |just |am )?{_UNABLE} {_ADVERBS}{_OTHERWISE}\w",
        rf"\bwe(?:'re)? (?:also |are )?{_UNABLE} {_ADVERBS}(?:help|assist|answer|comply|process|continue|"
        rf"provide|share|offer)",
        rf"\b(?:i|we)(?:'m|'re) (?:\w+ly )?not (?:going to )?{_ACTS}(?:ing)?\b",
        rf"^(?:(?:sorry|nope|no|unfortunately|well),? )*(?:but )?{_UNABLE} {_ADVERBS}(?:help|assist|{_INFORM}|"
        rf"answer)\b",
        r"^(?:i'm |i am )?(?:so |very |really )?sorry,? (?:but )?no\W*$|\banswer is still no\b",
        r"\b(?:i|we)(?:'ll| will|'d| would|'m| am)? ?(?:must|have to|need to|"
        r"going to have to)? ?(?:respectfully |politely )?"
        r"(?:refuse|decline)\b",
        r"\b(?:i|we)(?:'m going to|'ll| will| must)? (?:have to|need to) (?:say no|turn \w+ down|pass on)\b",
        rf"\b(?:chosen|choose|decided|prefer|rather) (?:not to|to not|not) {_ACTS}\b|\bi(?:'d|"
        rf" would) rather (?:not|we|you) ",
        r"\b(?:don't|do not|wouldn't|would not) (?:feel|be) comfortable\b|\bi(?:'m| am) (?:not |un)comfortable\b",
        rf"\bagainst (?:my|our) {_RULES}\b|\bagainst the {_RULES} (?:that )?(?:i|we|of use|of service)\b",
        rf"\bviolat\w+ (?:my|our|the) {_RULES}\b",
        rf"\b(?:my|our) {_RULES} (?:prevent|prohibit|forbid|(?:do not|don't) (?:allow|permit)|(?:is|"
        rf"are) .*\boff the table)",
        rf"(?:\bnot|n't) (?:be )?(?:\w+ )?{_BAD} for me to|\b(?:ir|in|un|im)?(?:responsible|appropriate|ethical|"
        rf"wrong|safe|"
        r"proper|dangerous) of me to",
        r"(?:\bnot|n't) (?:be )?(?:something|a (?:topic|subject|request)|one) (?:that |which )?i(?:'m| am|'d|"
        r" would| will)? ?"
        r"(?:can|could|do|help|will|able|willing|comfortable|permitted|allowed|assist|feel)\b",
        r"\b(?:something|things?|topic|request) (?:that |which )?i(?:'m| am) (?:unable|not (?:able|permitted|"
        r"allowed))\b",
        r"\b(?:outside|beyond) (?:of )?(?:\w+ ){0,4}?(?:i(?:'m| am)? (?:\w+ )?(?:can|able|allowed|permitted)|"
        r"my (?:\w+ )?"
        r"(?:abilities|capabilities|scope|role))\b|\boff[- ]limits for me\b|\bis off the table\b",
        r"\bno way (?:that )?i(?:'d| would|'ll| will)\b",
        rf"\bi (?:don't|do not) think (?:that )?i (?:should|can) {_ACTS}\b",
        r"\bi (?:don't|do not) (?:engage in|participate in|take part in|provide|assist with|help with|support|"
        r"condone|promote|encourage|endorse)\b",
        r"\b(?:i (?:don't|do not)|and (?:don't|do not)) have (?:the |any )?(?:\w+ )?(?:ability|abilities|access|"
        r"permission|capability|capacity)\b",
        rf"\bas an? (?:\w+ ){{0,3}}{_AI}\b.*\bi (?:don't|do not) have (?:any )?(?:\w+ )?(?:opinion|view|belief|"
        rf"preference)",
        rf"\b(?:i am|i'm|as|just|only|merely) an? (?:\w+ ){{0,2}}{_AI}\b.*\b(?:(?:do not|don't) (?:have the|"
        rf"condone|promote|support|engage)|i must (?:refuse|decline))",
        rf"\bit(?:'s| is) never (?:\w+ or )?{_BAD}(?: or \w+)? to \w",
        rf"\bit(?:'s| is) not (?:\w+ or )?{_BAD}(?: or \w+)? to (?:\w+ly )?(?:discuss|promote|provide|harm|hurt|"
        rf"encourage|"
        r"share|insult|joke|attack|deceive|lie|steal|cheat|mock|spy|ask about|make fun)\b",
        r"\bi(?:'m| am)? (?:can't|cannot|can not|won't|will not)\W*$|\bi(?:'d| would) (?:love|like) to\W* but no\b",
        r"\b(?:i|we) (?:don't|do not) (?:do\b|give (?!up)|hand out|share (?!your|this|that view)|disclose|"
        r"discuss|comment|reveal|"
        r"create|generate|produce)",
        r"\b(?:do not|don't|does not|doesn't) (?:allow|permit|let) me (?:to )?|\basked not to (?:talk|comment|"
        r"answer|discuss)",
        rf"\b(?:i am|i'm|as) an? (?:[\w-]+ ){{0,3}}{_AI}\b.*\b(?:can't|cannot|no way (?:of|to))\b",
        r"\bsomething (?:that )?i (?:always |have to |must )?(?:turn down|refuse|decline)\b",
        r"\b(?:behaviou?r|violence|harm\w*|stealing|lying|bullying|discrimination|revenge)\b.* (?:is|"
        r"are) (?:never|not) (?:\w+ )?"
        r"(?:acceptable|appropriate|okay|ok|the answer|the solution)\b",
        rf"\b(?:not|n't) within my (?:\w+ ){{0,2}}?(?:abilities|capabilities|power|programming|role|scope|{_RULES})",
        r"\b(?:don't|do not) feel right about\b|\bno can do\b|\b(?:that|this|it)(?:'s|"
        r" is) (?:strictly )?confidential\b",
        r"\bchoose another (?:subject|topic|question)\b|\binstead of (?:answering|doing|writing) (?:that|this|it)\b",
        r"\bi(?:'m| am|'ll| will) (?:be )?(?:leaving|leave) (?:it|that|this) out\b",
        r"\blet's (?:talk about|discuss|change) (?:something else|the subject|another)",
    ],
    [
        r"\bhelp (?:but|\w+ing)\b",
        r"\b(?:recommend|say|tell|thank|praise)\b.*\benough\b",
        r"\btell you how (?:happy|much|glad|pleased|excited|often|many times)\b",
        r"\bnot only\b",
        rf"\b{_UNABLE} (?:\w+ )?(?:eat|taste|smell|feel|drink|sleep|sing|dance|laugh|blush)\b",
        r"\b(?:make it|come to|attend|join you)\b",
        rf"\b{_UNABLE} {_ADVERBS}{_INFORM}\b.*{_GIVES}",
        rf"\b(?:don't|do not) have (?:any |the )?(?:\w+ )?(?:opinion|view|belief|preference)s?\b.*{_GIVES}",
        rf"\bas an? .*{_UNABLE} (?!help|assist)\w+\b.*{_GIVES}",
        r"\bdecline\b.*\b(?:invitation|meeting|offer)\b",
    ],
)
GERMAN = _phrases(
    [
        r"\b(?:kann|darf|werde|möchte|will) ich [^,;:]*\b(?:nichts?|kein\w*)\b",
        r"\bich (?:kann|darf|werde|möchte|will|gebe|teile|schreibe|erstelle|beantworte|"
        r"äußere) [^,;:]*\b(?:nichts?|kein\w*)\b",
        r"\bmuss ich (?:leider )?(?:passen|ablehnen)",
        r"\bals ki\b.*\bhabe ich kein\w* (?:\w+ )?(?:meinung|ansicht)",
        r"\bich bin nicht (?:in der lage|befugt|berechtigt|dafür)|"
        r"\bist (?:es )?mir (?:leider )?nicht (?:möglich|erlaubt)",
        r"\bich (?:muss (?:\w+ ){0,2}ablehnen|lehne (?:\w+ ){0,3}ab|weigere mich)|\bdas geht leider nicht\b",
        r"\b(?:gegen|mit) (?:meine|meinen|unsere|unseren) (?:regeln|richtlinien|prinzipien|grundsätze)",
    ],
    [
        r"\bkaum\b|\bnicht (?:nur|genug|oft genug|warten|glauben|erwarten|umhin|mehr (?:warten|aufhören)|vorstellen)\b",
        r"\b(?:nicht|kein\w*)\b.*, aber (?!ich|sie können|du kannst|wenn|bitte)",
    ],
)
FRENCH = _phrases(
    [
        r"\bje ne (?:peux|puis|pourrai|vais|veux|souhaite|dois|ferai|dirai|donnerai|répondrai|écrirai|"
        r"communique|fournis|donne|partage|divulgue|réponds) (?:\w+ ){0,2}?pas\b",
        r"\bje n'ai pas d(?:'|e |es )(?:\w+ )?(?:opinion|avis|préférence)|\bdans l'impossibilité de\b|"
        r"\bne fait pas partie de ce que je\b|\bje ne suis pas (?:en mesure|capable|"
        r"autorisée?|habilitée?|à l'aise)",
        r"\bil (?:m'est (?:\w+ )?(?:impossible|interdit)|ne m'est pas (?:possible|permis))|"
        r"\bje n'ai pas (?:accès|le droit)",
        r"\bje (?:refuse|dois (?:\w+ )?(?:refuser|décliner)|préfère ne pas)|\bcontraires? à mes (?:principes|règles)",
    ],
    [
        r"\bpas (?:attendre|croire|imaginer|assez|résister|m'empêcher|manquer|mentir|garantir|promettre)\b",
        r"\bpas\b.*, mais (?!je|vous|si|n'hésitez)",
    ],
)
SPANISH = _phrases(
    [
        r"\bno (?:te |le |les |os |lo |la |se lo |te lo )?(?:puedo|podré|podemos|voy a|debo|quiero|haré|daré|"
        r"diré|escribiré|comparto|proporciono|doy|ofrezco)\b",
        r"\bno tengo (?:una )?(?:opinión|opiniones|preferencias?)|\bno me siento (?:cómod|bien|a gusto)",
        r"\bno (?:me es|me está|me resulta) (?:posible|permitido)|\bno tengo (?:acceso|permiso|permitido)",
        r"\bno (?:es|sería) (?:apropiado|correcto|adecuado|ético) que yo\b|\bno (?:estoy|soy) (?:autorizad|"
        r"capaz|en condiciones|capacitad)|\bme niego\b|\bdebo (?:rechazar|negarme)|\bprefiero no\b|"
        r"\b(?:en contra de|contra) mis\b",
    ],
    [
        r"\b(?:dejar de|puedo (?:esperar|creer|imaginar|evitar|negar|resistir|prometer|garantizar|sino|más)|"
        r"suficiente)\b",
        r"\bpuedo\b.*, pero (?!puedo|si|no dudes|te puedo|le puedo)",
    ],
)
ITALIAN = _phrases(
    [
        r"\bnon (?:ti |le |lo |la |vi )?(?:posso|potrò|possiamo|voglio|intendo|devo|farò|dirò|darò|scriverò|"
        r"risponderò|fornisco|condivido)\b",
        r"\bnon ho (?:un'|una )?(?:opinion|preferenz)|\btemo di non pot|\bnon (?:è|sarebbe) (?:opportuno|"
        r"corretto|appropriato) che io\b|"
        r"\bnon sono (?:in grado|autorizzat|abilitat|a mio agio)|\bnon mi sento a mio agio|\bnon ho (?:accesso|"
        r"il permesso)",
        r"\bnon mi è (?:possibile|permesso|consentito)|\bmi rifiuto\b|\bdevo (?:rifiutar|declinar)|"
        r"\bpreferisco non\b|\bcontro (?:i miei|le mie)\b",
    ],
    [
        r"\bnon posso (?:\w+ )?(?:che|credere|immaginare|aspettare|negare|fare a meno|promettere|garantire|più)\b",
        r"\babbastanza\b|\bposso\b.*, ma (?!posso|se|non esitare)",
    ],
)
PORTUGUESE = _phrases(
    [
        r"\bnão (?:te |lhe |o |a )?(?:posso|consigo|poderei|podemos|vou|devo|quero|farei|direi|darei|escreverei|"
        r"partilho|compartilho|forneço|dou)\b",
        r"\bnão tenho (?:uma )?(?:opini|preferência)|\bnão me sinto (?:à vontade|confortável|bem)",
        r"\bnão (?:me é|sou|estou|é-me) (?:permitido|possível|capaz|autorizad|apt[oa])|\bnão tenho (?:acesso|"
        r"permissão|autorização)",
        r"\bnão (?:é|seria) (?:correto|apropriado|adequado|ético) (?:da minha parte|que eu)|\brecuso-me\b|"
        r"\bme recuso\b|\bdevo recusar|\bprefiro não\b|\bcontra (?:as |os )?(?:minhas|meus)\b",
    ],
    [
        r"\b(?:deixar de|posso (?:esperar|acreditar|imaginar|evitar|negar|prometer|garantir|mentir|senão)|"
        r"suficiente)\b",
        r"\b(?:posso|consigo)\b.*, mas (?!posso|se|não hesite)",
    ],
)
RUSSIAN = _phrases(
    [
        r"\b(?:я|мы) (?:\w+ ){0,2}?не (?:могу|можем|смогу|буду|стану|хочу|готов\w*)\b|\bя [^,;:]*\bне (?:могу|"
        r"буду|стану)\b",
        r"\bне имею (?:\w+ )?(?:мнения|взглядов|предпочтений)|\bмне (?:не разрешено|нельзя|запрещено)|"
        r"\bя не (?:даю|обсуждаю|раскрываю|предоставляю)\b|"
        r"^(?:\w+, )?(?:но )?не (?:могу|смогу|буду|стану)\b|\bне имею (?:права|возможности)|\bне в состоянии\b|"
        r"\bу меня нет (?:доступа|права|возможности)",
        r"\bя (?:\w+ )?отказываюсь|\bвынужден\w* отказать|\bпредпоч\w+ не\b|\bпротивореч\w+ (?:моим|нашим)",
    ],
    [
        r"\bне могу (?:не|поверить|дождаться|представить|обещать|знать|нарадоваться|передать)\b",
        r"\bмогу\b.*, но (?!я|вы можете|если)",
    ],
)
CHINESE = _phrases(
    [
        r"(?:我|本人)[^。，,；]{0,6}(?:无法|不能|不会|不可以|不便|没有办法|没办法|没有权限|无权|不愿|不适合|拒绝)",
        r"(?:抱歉|对不起|遗憾|不好意思)[^。]{0,8}(?:无法|不能|不便|不可以)(?:帮|为|提供|回答|满足|协助|完成|讨论|生成|参与|透露|给)",
        r"没有(?:个人|自己的)?(?:观点|意见|看法|立场|偏好)",
        r"违反了?(?:我|我们|平台|使用|相关)[^。]{0,4}(?:规定|政策|准则|原则|规则)",
    ],
    [r"不能不|不能再|(?:无法|不能|不会)(?:等|相信|想象|保证|忘)"],
)
JAPANESE = _phrases(
    [
        r"(?:お応え|お答え|お手伝い|お話し|回答|提供|対応|協力|支援|お教え|作成|生成|述べる|書く|議論|お受け|ご案内|説明|お伝え)"
        r".{0,8}?(?:できません|できかねます|できない|いたしかねます|致しかねます|しかねます)",
        r"(?:申し訳|すみません|ごめんなさい|恐れ入り|残念).{0,40}(?:できません|できかねます|いたしかねます|致しかねます|お断り)",
        r"意見は?(?:持っていません|ありません|持ちません)|応じ(?:られません|かねます)|お断り(?:します|いたします|させて)|差し控えさせて|控えさせて|権限がありません",
    ],
    [r"割ることは"],
)
LANGUAGES = (ENGLISH, GERMAN, FRENCH, SPANISH, ITALIAN, PORTUGUESE, RUSSIAN, CHINESE, JAPANESE)
