"""Words and everyday things: tables of the slice of knowledge. No other answer of a table is right for a word."""

from __future__ import annotations

from quantcurve.slices.makers_parts import listed, paired

DAYS = listed("Monday; Tuesday; Wednesday; Thursday; Friday; Saturday; Sunday")
MONTHS = listed("January; February; March; April; May; June; July; August; September; October; November; December")
ORDINALS = listed("first; second; third; fourth; fifth; sixth; seventh; eighth; ninth; tenth; eleventh; twelfth")
ANTONYMS = paired("""
hot: cold; big: small; fast: slow; high: low; long: short; old: new; rich: poor; hard: soft; light: heavy; early: late;
happy: sad; strong: weak; wet: dry; full: empty; open: closed; deep: shallow; wide: narrow; thick: thin; clean: dirty;
loud: quiet; near: far; up: down; left: right; inside: outside; above: below; before: after; day: night; summer: winter;
north: south; east: west; love: hate; war: peace; life: death; win: lose; buy: sell; push: pull; give: take;
begin: end; arrive: depart; remember: forget; laugh: cry; ask: answer; teach: learn; increase: decrease; add: subtract;
multiply: divide; accept: reject; attack: defend; borrow: lend; build: destroy; float: sink; freeze: melt;
enter: exit; success: failure; friend: enemy; truth: lie; king: queen; brother: sister; father: mother;
husband: wife; uncle: aunt; boy: girl; always: never; all: none; many: few; same: different; cheap: expensive;
safe: dangerous; brave: cowardly; generous: stingy; polite: rude; humble: proud; young: elderly; sharp: blunt;
smooth: rough; sweet: bitter; tight: loose; wild: tame; alive: dead; awake: asleep; guilty: innocent;
visible: invisible; legal: illegal; possible: impossible; optimist: pessimist; maximum: minimum;
import: export; major: minor; public: private; simple: complicated; temporary: permanent;
vertical: horizontal; wise: foolish
""")
PLURALS = paired("""
mouse: mice; goose: geese; foot: feet; tooth: teeth; man: men; woman: women; child: children; ox: oxen; leaf: leaves;
knife: knives; wolf: wolves; wife: wives; life: lives; half: halves; shelf: shelves; thief: thieves; loaf: loaves;
calf: calves; city: cities; baby: babies; story: stories; country: countries; berry: berries; fly: flies; lady: ladies;
box: boxes; bus: buses; church: churches; dish: dishes; fox: foxes; class: classes; potato: potatoes; tomato: tomatoes;
hero: heroes; echo: echoes; crisis: crises; analysis: analyses; basis: bases; phenomenon: phenomena;
criterion: criteria; bacterium: bacteria; stimulus: stimuli; person: people; day: days; key: keys; toy: toys;
book: books; tree: trees; hypothesis: hypotheses; oasis: oases
""")
PAST_TENSES = paired("""
go: went; eat: ate; see: saw; come: came; take: took; give: gave; find: found; think: thought; buy: bought;
bring: brought; teach: taught; catch: caught; fight: fought; run: ran; swim: swam; sing: sang; drink: drank;
begin: began; ring: rang; write: wrote; ride: rode; drive: drove; rise: rose; speak: spoke; break: broke; steal: stole;
choose: chose; freeze: froze; know: knew; grow: grew; throw: threw; blow: blew; fly: flew; draw: drew; fall: fell;
feel: felt; keep: kept; sleep: slept; meet: met; leave: left; lose: lost; make: made; say: said; pay: paid; sell: sold;
tell: told; hold: held; stand: stood; understand: understood; sit: sat; win: won; hear: heard; build: built; send: sent;
spend: spent; lend: lent; forget: forgot; hide: hid; bite: bit; tear: tore; wear: wore; dig: dug; stick: stuck
""")
ANIMAL_CLASSES = paired("""
dog: a mammal; cat: a mammal; whale: a mammal; dolphin: a mammal; bat: a mammal; elephant: a mammal; horse: a mammal;
kangaroo: a mammal; mouse: a mammal; seal: a mammal; eagle: a bird; penguin: a bird; ostrich: a bird; owl: a bird;
parrot: a bird; swan: a bird; pigeon: a bird; robin: a bird; flamingo: a bird; chicken: a bird; snake: a reptile;
lizard: a reptile; crocodile: a reptile; turtle: a reptile; gecko: a reptile; iguana: a reptile; alligator: a reptile;
chameleon: a reptile; frog: an amphibian; toad: an amphibian; newt: an amphibian; salamander: an amphibian;
salmon: a fish; shark: a fish; trout: a fish; tuna: a fish; cod: a fish; eel: a fish; seahorse: a fish; herring: a fish;
ant: an insect; bee: an insect; butterfly: an insect; beetle: an insect; mosquito: an insect; dragonfly: an insect;
grasshopper: an insect; moth: an insect; wasp: an insect; ladybird: an insect; spider: an arachnid;
scorpion: an arachnid; tick: an arachnid; crab: a crustacean; lobster: a crustacean; shrimp: a crustacean;
snail: a mollusc; octopus: a mollusc; squid: a mollusc; mussel: a mollusc
""")
YOUNG_ANIMALS = paired("""
dog: puppy; cat: kitten; cow: calf; sheep: lamb; horse: foal; pig: piglet; goat: kid; bear: cub; duck: duckling;
goose: gosling; swan: cygnet; kangaroo: joey; deer: fawn; frog: tadpole; owl: owlet; hare: leveret; eagle: eaglet;
butterfly: caterpillar
""")
COLOURS = paired("""
fresh grass: green; a clear sky at noon: blue; fresh snow: white; coal: black; blood: red; a ripe banana: yellow;
a carrot: orange; chocolate: brown; a flamingo: pink; an aubergine: purple; milk: white; a ripe strawberry: red;
spinach: green; the yolk of an egg: yellow; an elephant: grey; a raven: black; a polar bear: white; an emerald: green;
a ruby: red; a sapphire: blue; a lemon: yellow; cucumber skin: green;
a stop sign: red; a pumpkin: orange; a sunflower's petals: yellow; cocoa: brown
""")
PROFESSIONS = paired("""
flies planes: a pilot; teaches pupils: a teacher; bakes bread: a baker; puts out fires: a firefighter;
repairs teeth: a dentist; treats sick animals: a veterinarian; sells meat: a butcher; grows crops: a farmer;
designs buildings: an architect; cuts hair: a hairdresser; delivers letters: a postman; repairs cars: a mechanic;
paints portraits: a painter; writes novels: a novelist; lays bricks: a bricklayer; repairs pipes: a plumber;
makes clothes: a tailor; studies stars: an astronomer; leads an orchestra: a conductor; sells medicines: a pharmacist;
studies rocks: a geologist; catches fish: a fisherman; works underground for coal: a miner; lends books: a librarian;
makes shoes: a shoemaker; defends people in court: a lawyer; installs electric wiring: an electrician;
makes glasses: an optician; carves statues: a sculptor; keeps bees: a beekeeper
""")
TOOLS = paired("""
drive a nail into wood: a hammer; cut paper: scissors; measure temperature: a thermometer; see distant stars: a
telescope; see tiny cells: a microscope; tell the time: a clock; open a wine bottle: a corkscrew; dig a hole: a shovel;
turn a screw: a screwdriver; cut down a tree: a saw; find north: a compass; weigh flour: a scale; sew cloth: a needle;
sweep the floor: a broom; boil water for tea: a kettle; keep food cold: a refrigerator; stay dry in the rain: an
umbrella; lock a door: a key; listen to a heart: a stethoscope; take a photograph: a camera; write on a blackboard:
chalk; comb hair: a comb; iron a shirt: an iron; measure a length: a ruler
""")
AUTHORS = paired("""
Hamlet: William Shakespeare; Pride and Prejudice: Jane Austen; Oliver Twist: Charles Dickens; War and Peace: Leo
Tolstoy; Crime and Punishment: Fyodor Dostoevsky; Don Quixote: Miguel de Cervantes; The Divine Comedy: Dante Alighieri;
Faust: Johann Wolfgang von Goethe; Les Misérables: Victor Hugo; The Odyssey: Homer; The Trial: Franz Kafka; Ulysses:
James Joyce; Animal Farm: George Orwell; Brave New World: Aldous Huxley; The Hobbit: J. R. R. Tolkien; The Old Man and
the Sea: Ernest Hemingway; The Great Gatsby: F. Scott Fitzgerald; Moby-Dick: Herman Melville; The Adventures of Tom
Sawyer: Mark Twain; Frankenstein: Mary Shelley; Dracula: Bram Stoker; Wuthering Heights: Emily Brontë; Jane Eyre:
Charlotte Brontë; Alice's Adventures in Wonderland: Lewis Carroll; Treasure Island: Robert Louis Stevenson; The Time
Machine: H. G. Wells; Around the World in Eighty Days: Jules Verne; Madame Bovary: Gustave Flaubert; The Three
Musketeers: Alexandre Dumas; The Picture of Dorian Gray: Oscar Wilde; Robinson Crusoe: Daniel Defoe; Gulliver's
Travels: Jonathan Swift; One Hundred Years of Solitude: Gabriel García Márquez; The Little Prince: Antoine de
Saint-Exupéry; The Jungle Book: Rudyard Kipling; A Doll's House: Henrik Ibsen; The Cherry Orchard: Anton Chekhov; To
Kill a Mockingbird: Harper Lee; The Grapes of Wrath: John Steinbeck; Mrs Dalloway: Virginia Woolf
""")
