"""The facts: tables from a thing to the one answer about it, and the ways to ask."""

from __future__ import annotations

from dataclasses import dataclass

from duologue.data.domain.phrases import pairs, phrases


@dataclass(frozen=True)
class Table:
    """Facts of one kind: `facts` maps {x} to the answer {y}; `numeric` where the answers are numbers."""

    name: str
    reply: str
    wordings: tuple[str, ...]
    facts: dict[str, str]
    numeric: bool = False


def _both(text: str) -> dict[str, str]:
    """The same, read in both directions."""
    one_way = pairs(text)
    return one_way | {answer: thing for thing, answer in one_way.items()}


TABLES = (
    Table(
        "opposite",
        "the opposite of {x} is {y}",
        phrases(
            """what is the opposite of {x}, the opposite of {x}, tell me the opposite of {x}
            give me the opposite of {x}, what is the opposite word of {x}, which word is the opposite of {x}
            what word means the opposite of {x}, name the opposite of {x}, if something is not {x} what is it
            what is the reverse of {x}, what is not {x}, say the opposite of {x}, find the opposite of {x}"""
        ),
        _both(
            """hot: cold, big: small, fast: slow, happy: sad, day: night, open: closed, full: empty, wet: dry
            up: down, good: bad, rich: poor, clean: dirty, early: late, loud: quiet, left: right, on: off, yes: no
            black: white, first: last, high: low, inside: outside, true: false, push: pull, start: stop
            easy: difficult, begin: end, sharp: blunt, brave: afraid, cheap: expensive, love: hate, summer: winter
            always: never, near: far, win: lose, sweet: sour, top: bottom, front: back, buy: sell, give: take
            awake: asleep, alive: dead, safe: dangerous, polite: rude, war: peace, laugh: cry, remember: forget
            before: after, north: south, east: west, thick: thin, wide: narrow, above: below, hard: soft, young: old
            light: heavy, same: different, question: answer, friend: enemy, arrive: leave, together: alone
            float: sink, deep: shallow, boy: girl, king: queen, man: woman, sunrise: sunset, success: failure
            forward: backward, find: lost, noisy: silent"""
        ),
    ),
    Table(
        "sound",
        "{x} says {y}",
        phrases(
            """what does {x} say, what sound does {x} make, which sound does {x} make, how does {x} sound
            what noise does {x} make, what sound do you hear from {x}, tell me what {x} says
            tell me what sound {x} makes, make the sound of {x}, what is the sound of {x}, how does {x} talk"""
        ),
        pairs(
            """a cow: moo, a cat: meow, a dog: woof, a duck: quack, a sheep: baa, a pig: oink, a lion: roar
            a horse: neigh, a bee: buzz, a snake: hiss, a rooster: cock a doodle doo, an owl: hoot, a mouse: squeak
            a frog: croak, a turkey: gobble, a donkey: hee haw, a wolf: howl, a bird: tweet, a chicken: cluck
            a crow: caw, a goose: honk"""
        ),
    ),
    Table(
        "baby",
        "a baby {x} is {y}",
        phrases(
            """what is a baby {x} called, what do you call a baby {x}, what is the name of a baby {x}
            what is a young {x} called, what do you call a young {x}, how do you call a baby {x}
            a baby {x} is called what, what is the word for a baby {x}, tell me what a baby {x} is called
            name the baby of a {x}, what is the child of a {x} called"""
        ),
        pairs(
            """dog: a puppy, cat: a kitten, cow: a calf, horse: a foal, sheep: a lamb, pig: a piglet, duck: a duckling
            chicken: a chick, bear: a cub, kangaroo: a joey, goat: a kid, frog: a tadpole, goose: a gosling
            swan: a cygnet, owl: an owlet, spider: a spiderling, butterfly: a caterpillar"""
        ),
    ),
    Table(
        "capital",
        "the capital of {x} is {y}",
        phrases(
            """what is the capital of {x}, what is the capital city of {x}, which city is the capital of {x}
            what city is the capital of {x}, the capital of {x}, name the capital of {x}, tell me the capital of {x}
            give me the capital of {x}, what is the main city of {x}, the capital city of {x} is what
            which is the capital of {x}, name the capital city of {x}, {x} has which capital"""
        ),
        pairs(
            """france: paris, germany: berlin, spain: madrid, italy: rome, england: london, austria: vienna
            portugal: lisbon, greece: athens, russia: moscow, china: beijing, japan: tokyo, india: new delhi
            egypt: cairo, canada: ottawa, poland: warsaw, sweden: stockholm, norway: oslo, denmark: copenhagen
            finland: helsinki, ireland: dublin, scotland: edinburgh, belgium: brussels, hungary: budapest
            turkey: ankara, cuba: havana, peru: lima, argentina: buenos aires, chile: santiago, kenya: nairobi
            iran: tehran, iraq: baghdad, thailand: bangkok, ukraine: kiev, romania: bucharest, mexico: mexico city
            holland: amsterdam, switzerland: bern, korea: seoul, vietnam: hanoi, australia: canberra"""
        ),
    ),
    Table(
        "color",
        "{x} is {y}",
        phrases(
            """what color is {x}, what is the color of {x}, which color is {x}, which color does {x} have
            what color does {x} have, tell me the color of {x}, the color of {x}, name the color of {x}
            {x} has what color, give me the color of {x}, what color would you paint {x}
            what color do you see on {x}"""
        ),
        pairs(
            """a banana: yellow, the sky: blue, grass: green, snow: white, a tomato: red, coal: black, the sun: yellow
            a carrot: orange, blood: red, milk: white, chocolate: brown, a strawberry: red, a cucumber: green
            a lemon: yellow, the ocean: blue, a frog: green, a polar bear: white, a flamingo: pink, an elephant: grey
            cotton: white, spinach: green, butter: yellow, a pumpkin: orange, an eggplant: purple, a raven: black
            an emerald: green, a ruby: red, a cherry: red, broccoli: green, salt: white, a swan: white
            a fire truck: red"""
        ),
    ),
    Table(
        "plural",
        "one {x} two {y}",
        phrases(
            """what is the plural of {x}, the plural of {x}, tell me the plural of {x}, give me the plural of {x}
            what is the plural form of {x}, how do you say more than one {x}, what do you call more than one {x}
            what do you call many of a {x}, find the plural of {x}, name the plural of {x}
            one {x} and then two what"""
        ),
        pairs(
            """mouse: mice, foot: feet, child: children, man: men, woman: women, goose: geese, leaf: leaves
            wolf: wolves, knife: knives, wife: wives, shelf: shelves, person: people, house: houses, box: boxes
            baby: babies, city: cities, bus: buses, story: stories, cherry: cherries, tooth: teeth"""
        ),
    ),
    Table(
        "past",
        "today i {x} yesterday i {y}",
        phrases(
            """what is the past tense of {x}, the past tense of {x}, tell me the past tense of {x}
            give me the past tense of {x}, what is the past of {x}, what is the past form of {x}
            today i {x} and yesterday i what, what did i do yesterday if today i {x}, put {x} in the past tense
            put {x} into the past, find the past tense of {x}"""
        ),
        pairs(
            """go: went, run: ran, sing: sang, swim: swam, drink: drank, drive: drove, speak: spoke, think: thought
            bring: brought, teach: taught, catch: caught, sleep: slept, fly: flew, fall: fell, give: gave, take: took
            begin: began, break: broke, forget: forgot, draw: drew, grow: grew, stand: stood, buy: bought, keep: kept
            find: found, lose: lost, leave: left, wake: woke, choose: chose, feel: felt"""
        ),
    ),
    Table(
        "sides",
        "{x} has {y} sides",
        phrases(
            """how many sides does {x} have, how many sides are there on {x}, how many sides has {x}
            what number of sides does {x} have, how many corners does {x} have, count the sides of {x}
            tell me how many sides {x} has, the number of sides of {x}, what is the number of sides of {x}
            {x} has how many sides"""
        ),
        pairs(
            """a triangle: three, a square: four, a rectangle: four, a pentagon: five, a hexagon: six
            an octagon: eight, a diamond: four, a heptagon: seven, a decagon: ten"""
        ),
        numeric=True,
    ),
    Table(
        "legs",
        "{x} has {y} legs",
        phrases(
            """how many legs does {x} have, how many legs are there on {x}, how many legs has {x}
            what number of legs does {x} have, on how many legs does {x} walk, count the legs of {x}
            tell me how many legs {x} has, the number of legs of {x}, what is the number of legs of {x}
            {x} has how many legs"""
        ),
        pairs(
            """a dog: four, a cat: four, a spider: eight, a bird: two, an insect: six, a snake: zero, a person: two
            a bee: six, a horse: four, a worm: zero, a crab: ten, a chicken: two, an ant: six, a cow: four
            a fish: zero"""
        ),
        numeric=True,
    ),
    Table(
        "days",
        "{x} has {y} days",
        phrases(
            """how many days does {x} have, how many days are in {x}, how many days are there in {x}
            how many days has {x}, what number of days does {x} have, tell me how many days {x} has
            the number of days in {x}, what is the number of days in {x}, how many days long is {x}
            {x} has how many days, count the days in {x}"""
        ),
        pairs(
            """january: thirty one, february: twenty eight, march: thirty one, april: thirty, may: thirty one
            june: thirty, july: thirty one, august: thirty one, september: thirty, october: thirty one
            november: thirty, december: thirty one, a week: seven, a weekend: two"""
        ),
        numeric=True,
    ),
    Table(
        "amount",
        "there are {y} {x}",
        phrases(
            """how many {x}, how many are {x}, what number of {x}, what is the number of {x}, the number of {x}
            tell me how many {x}, tell me the number of {x}, give me the number of {x}, what number are {x}
            how many of {x}"""
        ),
        pairs(
            """hours in a day: twenty four, minutes in an hour: sixty, seconds in a minute: sixty
            months in a year: twelve, weeks in a year: fifty two, seasons in a year: four
            letters in the alphabet: twenty six, cents in a dollar: one hundred, fingers on a hand: five
            eggs in a dozen: twelve, wheels on a car: four, wheels on a bicycle: two, wheels on a tricycle: three
            arms on an octopus: eight, colors in a rainbow: seven, continents on earth: seven
            years in a century: one hundred, years in a decade: ten, toes on a foot: five
            planets around the sun: eight, strings on a guitar: six, strings on a violin: four
            minutes in half an hour: thirty, players on a soccer team: eleven, months in half a year: six
            degrees in a circle: three hundred sixty"""
        ),
        numeric=True,
    ),
    Table(
        "home",
        "{x} lives in {y}",
        phrases(
            """where does {x} live, what is the home of {x}, the home of {x}, where is the home of {x}
            where do you find {x}, where would you find {x}, what does {x} live in, in what does {x} live
            tell me where {x} lives, where does {x} sleep, where can i find {x}"""
        ),
        pairs(
            """a bee: a hive, a bird: a nest, a spider: a web, a king: a castle, a bear: a cave, a lion: africa
            a kangaroo: australia, a penguin: antarctica, a fish: water, a monkey: the jungle, a camel: the desert
            a panda: china, a horse: a stable, a rabbit: a burrow, a cowboy: a ranch
            a pig: a sty"""
        ),
    ),
    Table(
        "continent",
        "{x} is in {y}",
        phrases(
            """on which continent is {x}, which continent is {x} in, what continent is {x} in, what continent is {x} on
            in which continent is {x}, in which part of the world is {x}, tell me the continent of {x}
            the continent of {x}, what is the continent of {x}, where in the world is {x}, name the continent of {x}"""
        ),
        pairs(
            """france: europe, germany: europe, spain: europe, italy: europe, poland: europe, sweden: europe
            greece: europe, china: asia, japan: asia, india: asia, thailand: asia, vietnam: asia, korea: asia
            iran: asia, egypt: africa, kenya: africa, nigeria: africa, morocco: africa, ghana: africa
            canada: north america, mexico: north america, brazil: south america, peru: south america
            argentina: south america, chile: south america"""
        ),
    ),
    Table(
        "language",
        "people in {x} speak {y}",
        phrases(
            """what language do people speak in {x}, which language do people speak in {x}, what do people speak in {x}
            what is the language of {x}, the language of {x}, what language is spoken in {x}
            which language is spoken in {x}, tell me the language of {x}, name the language of {x}
            which language do you hear in {x}, what language would i need in {x}"""
        ),
        pairs(
            """france: french, germany: german, spain: spanish, italy: italian, england: english, portugal: portuguese
            russia: russian, china: chinese, japan: japanese, greece: greek, turkey: turkish, poland: polish
            sweden: swedish, brazil: portuguese, mexico: spanish, austria: german, america: english
            australia: english, korea: korean, egypt: arabic, argentina: spanish, denmark: danish, norway: norwegian
            hungary: hungarian"""
        ),
    ),
    Table(
        "kind",
        "{x} is {y}",
        phrases(
            """what kind of thing is {x}, what is {x}, what sort of thing is {x}, what type of thing is {x}
            tell me what {x} is, what would you call {x}, what do you call {x}, what exactly is {x}
            {x} is what kind of thing, explain what {x} is, which kind of thing is {x}"""
        ),
        pairs(
            """an apple: a fruit, a banana: a fruit, a peach: a fruit, a mango: a fruit, a carrot: a vegetable
            an onion: a vegetable, a cabbage: a vegetable, a dog: an animal, a tiger: an animal
            an elephant: an animal, a rose: a flower, a tulip: a flower, a daisy: a flower, an oak: a tree
            a pine: a tree, a salmon: a fish, a shark: a fish, an eagle: a bird, a parrot: a bird, a penguin: a bird
            an ant: an insect, a mosquito: an insect, a piano: an instrument, a guitar: an instrument
            a violin: an instrument, a flute: an instrument, red: a color, green: a color, gold: a metal
            iron: a metal, a hammer: a tool, a saw: a tool, a chair: furniture, a table: furniture, soccer: a sport
            tennis: a sport, hockey: a sport, a triangle: a shape, a circle: a shape, europe: a continent
            africa: a continent, winter: a season, summer: a season, mars: a planet, venus: a planet, water: a liquid
            oxygen: a gas, a cobra: a snake, a python: a snake, a poodle: a dog, coffee: a drink, juice: a drink
            a shirt: clothing, a jacket: clothing, a car: a vehicle, a truck: a vehicle"""
        ),
    ),
    Table(
        "job",
        "{y} {x}",
        phrases(
            """who {x}, who is it that {x}, which person {x}, what is the job of a person who {x}
            what do you call a person who {x}, what do you call someone who {x}, the name for someone who {x}
            tell me who {x}, what is someone who {x}, name a person who {x}, the person who {x}"""
        ),
        pairs(
            """bakes bread: a baker, teaches children: a teacher, flies a plane: a pilot, puts out fires: a fireman
            grows food: a farmer, paints pictures: a painter, helps sick people: a doctor, fixes teeth: a dentist
            drives a bus: a driver, builds houses: a builder, writes books: a writer, sings songs: a singer
            sails a ship: a sailor, catches fish: a fisherman, cuts hair: a barber, delivers letters: a mailman
            plays the drums: a drummer, goes to space: an astronaut, takes photos: a photographer
            rules a country: a king, works in a garden: a gardener, cooks in a restaurant: a chef
            brings presents at christmas: santa claus"""
        ),
    ),
    Table(
        "part",
        "you {x} with your {y}",
        phrases(
            """what do you {x} with, with what do you {x}, what do people {x} with, what do we {x} with
            what do i need to {x}, which part of the body do you {x} with, what part of the body do we use to {x}
            what do you use to {x}, with which part of the body do you {x}, tell me what you {x} with"""
        ),
        pairs(
            """see: eyes, hear: ears, smell: nose, taste: tongue, think: brain, walk: legs, breathe: lungs
            bite: teeth, kick a ball: foot, wave: hand, kiss: lips, swallow: throat"""
        ),
    ),
    Table(
        "source",
        "{x} comes from {y}",
        phrases(
            """where does {x} come from, what does {x} come from, from where does {x} come, from what do we get {x}
            where do we get {x} from, where do you get {x}, tell me where {x} comes from, who or what gives us {x}
            what is the source of {x}, what gives us {x}"""
        ),
        pairs(
            """milk: a cow, honey: bees, wool: a sheep, an egg: a chicken, wood: trees, rain: clouds, light: the sun
            silk: worms, smoke: fire, sushi: japan, pizza: italy, wine: grapes, paper: trees, a letter: the mailman
            bacon: a pig, electricity: a power station, lava: a volcano"""
        ),
    ),
    Table(
        "material",
        "{x} is made of {y}",
        phrases(
            """what is {x} made of, what is {x} made from, of what is {x} made, what do you need to make {x}
            what material is {x} made of, what do people make {x} from, tell me what {x} is made of
            what is used to make {x}, which material is {x} made of, {x} is made of what"""
        ),
        pairs(
            """a window: glass, a tire: rubber, a book: paper, a snowman: snow, cheese: milk, a candle: wax
            ice: water, a brick: clay, a beach: sand, a coin: metal, a cloud: water, toast: bread, jam: fruit
            a sweater: wool, a boot: leather, a nail: iron, a ghost: nothing"""
        ),
    ),
    Table(
        "month_number",
        "the {x} month is {y}",
        phrases(
            """what is the {x} month, which month is the {x} one, which is the {x} month of the year
            what is the {x} month of the year, which month is the {x}, name the {x} month, the {x} month of the year
            tell me the {x} month, give me the {x} month of the year, what month is the {x} of the year"""
        ),
        pairs(
            """first: january, second: february, third: march, fourth: april, fifth: may, sixth: june, seventh: july
            eighth: august, ninth: september, tenth: october, eleventh: november, twelfth: december, last: december"""
        ),
    ),
    Table(
        "day_number",
        "the {x} day is {y}",
        phrases(
            """what is the {x} day of the week, which day is the {x} one, which is the {x} day of the week
            which day is the {x} of the week, what day is the {x} of the week, name the {x} day of the week
            the {x} day of the week, tell me the {x} day of the week, give me the {x} day of the week
            what is the {x} day"""
        ),
        pairs(
            """first: monday, second: tuesday, third: wednesday, fourth: thursday, fifth: friday, sixth: saturday
            seventh: sunday, last: sunday"""
        ),
    ),
)
