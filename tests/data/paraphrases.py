"""Items, each with a paraphrase and with another question about the same thing, all written by hand."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """An item and two rows.

    Attributes:
        item: The question.
        answer: Its answer.
        same: The same question in other words.
        other: Another question of the same subject, or the same one with other numbers.
        reply: The other question's answer.
    """

    item: str
    answer: str
    same: str
    other: str
    reply: str


NUMBERS = (
    Case(
        "Nadia bakes 48 muffins and packs them in boxes of 6. She sells every box for $9. How much does she earn?",
        "72",
        "Every box Nadia sells brings in 9 dollars and holds six muffins. What are her takings if 48 "
        "muffins came out of the oven?",
        "Nadia bakes 60 rolls and packs them in bags of 5. She sells every bag for $4. How much does she earn?",
        "48",
    ),
    Case(
        "A cyclist rides 18 kilometers in the morning and 27 kilometers in the afternoon. How far does he ride in all?",
        "45",
        "What is the total distance covered by a man on a bike who does 18 km before noon and another "
        "27 km after lunch?",
        "A cyclist rides 18 kilometers an hour for 3 hours. How far does he ride in all?",
        "54",
    ),
    Case(
        "There are 24 students in a class. A third of them wear glasses. How many students do not wear glasses?",
        "16",
        "In a group of 24 pupils, one out of three has spectacles. How many pupils manage without them?",
        "There are 24 students in a class. A quarter of them play chess. How many students do not play chess?",
        "18",
    ),
    Case(
        "Omar saves 15 dollars a week. After how many weeks can he buy a jacket that costs 120 dollars?",
        "8",
        "Putting aside $15 every seven days, how long will it take Omar until a $120 jacket is his?",
        "Omar saves 20 dollars a week. After how many weeks can he buy a tent that costs 180 dollars?",
        "9",
    ),
    Case(
        "A tank holds 350 liters of water. Each day 25 liters leak out. When will the tank be empty?",
        "14",
        "Water drips from a 350-litre container at a rate of 25 litres daily. After how many days is "
        "nothing left in it?",
        "A tank holds 350 liters of water. After 4 days of leaking it holds 250 liters. How much leaks out each day?",
        "25",
    ),
    Case(
        "Lena is 4 years older than Tom. Together they are 28 years old. How old is Lena?",
        "16",
        "The ages of Tom and Lena add up to 28, and she was born 4 years before him. What is Lena's age?",
        "Lena is twice as old as Tom. Together they are 27 years old. How old is Lena?",
        "18",
    ),
    Case(
        "A farmer has 12 cows and each gives 9 liters of milk a day. How many liters does he get in a week?",
        "756",
        "If each of a farmer's 12 cows yields 9 litres of milk daily, what does seven days of milking bring him?",
        "A farmer has 15 goats and each gives 3 liters of milk a day. How many liters does he get in a week?",
        "315",
    ),
    Case(
        "A shirt costs $40 and is reduced by 15%. What is the new price?",
        "34",
        "With fifteen percent taken off, how much must be paid for a shirt that was 40 dollars before?",
        "A shirt costs $40 after it was reduced by 20%. What was the old price?",
        "50",
    ),
    Case(
        "The sides of a rectangle are 7 cm and 11 cm. What is its area?",
        "77",
        "Find how many square centimetres a rectangle covers that is 11 cm long and 7 cm wide.",
        "The sides of a rectangle are 7 cm and 11 cm. What is its perimeter?",
        "36",
    ),
    Case(
        "Pablo reads 22 pages every evening. How many pages of a book of 300 pages are left after 9 evenings?",
        "102",
        "A 300-page novel lies on Pablo's bedside table, and he gets through 22 pages a night. What "
        "remains unread when nine nights have passed?",
        "Pablo reads 30 pages every evening. How many pages of a book of 400 pages are left after 7 evenings?",
        "190",
    ),
    Case(
        "A bus with 52 seats is three quarters full. How many seats are free?",
        "13",
        "Three out of every four places on a coach for 52 passengers are taken. How many are still available?",
        "A bus with 64 seats is half full. At the next stop 9 people get on. How many seats are free?",
        "23",
    ),
    Case(
        "Grace buys 3 notebooks for $2.50 each and a pen for $1.75. She pays with $10. How much change does she get?",
        "0.75",
        "At the till Grace hands over a ten-dollar bill ($10) for one pen at $1.75 and 3 notebooks "
        "priced at $2.50. What does she get back?",
        "Grace buys 4 notebooks for $1.50 each and a ruler for $2.25. She pays with $10. How much change does she get?",
        "1.75",
    ),
    Case(
        "Two trains are 360 km apart and drive towards each other at 80 and 100 km an hour. When do they meet?",
        "2",
        "How many hours pass before a train doing 80 km/h runs into one doing 100 km/h on the same "
        "line, if 360 km separate them at the start?",
        "Two trains leave the same station in opposite directions at 80 and 100 km an hour. How far "
        "apart are they after 3 hours?",
        "540",
    ),
    Case(
        "A recipe for 4 people needs 300 grams of rice. How much rice is needed for 10 people?",
        "750",
        "300 g of rice feed 4 guests. What weight should the cook put in the pot for a party of 10?",
        "A recipe for 6 people needs 450 grams of pasta. How much pasta is needed for 8 people?",
        "600",
    ),
    Case(
        "A box holds 8 red, 5 blue and 7 green marbles. What is the probability of drawing a blue one?",
        "1/4",
        "Someone takes a marble at random out of a box containing 5 blue ones, 7 green ones and 8 red "
        "ones. How likely is blue?",
        "A box holds 6 red, 5 blue and 9 green marbles. What is the probability of drawing a green one?",
        "9/20",
    ),
    Case(
        "Mia walked 6,500 steps on Monday and twice as many on Tuesday. How many steps did she walk on both days?",
        "19500",
        "On Tuesday Mia's step counter showed double Monday's 6,500. What do the two days come to?",
        "Mia walked 6,500 steps on Monday and 1,200 more on Tuesday. How many steps did she walk on both days?",
        "14200",
    ),
    Case(
        "A gardener plants 9 rows of 14 tulips. 17 of them do not come up. How many tulips bloom?",
        "109",
        "Of the tulip bulbs that a gardener set in nine rows with 14 in each, 17 fail. How many "
        "flowers are there in spring?",
        "A gardener plants 8 rows of 15 roses. 12 of them do not come up. How many roses bloom?",
        "108",
    ),
    Case(
        "If 5 machines make 200 screws in 2 minutes, how many screws does one machine make in a minute?",
        "20",
        "Within 2 minutes a workshop turns out 200 screws on its 5 machines. State the output of a "
        "single machine per minute.",
        "If 5 machines make 200 screws in 2 minutes, how many machines are needed for 600 screws in 2 minutes?",
        "15",
    ),
    Case(
        "Ivan had 63 stamps. He gave 18 to his brother and then bought 30 more. How many stamps has he now?",
        "75",
        "After handing 18 of his 63 stamps to his brother, Ivan got hold of 30 new ones at the shop. "
        "What is the size of his collection?",
        "Ivan had 45 coins. He gave 12 to his sister and then bought 20 more. How many coins has he now?",
        "53",
    ),
    Case(
        "A film starts at 19:40 and lasts 125 minutes. When does it end?",
        "21:45",
        "What time will it be when the credits roll, if the movie begins at 19:40 and its length is 125 minutes?",
        "A film ends at 21:45 and lasts 110 minutes. When did it start?",
        "19:55",
    ),
    Case(
        "A worker earns $18 an hour and 50% more for overtime. What does he earn for 40 hours and 6 hours of overtime?",
        "882",
        "Work out the pay for 40 regular hours plus 6 extra ones, when the wage is 18 dollars and "
        "extra hours are paid 50% on top.",
        "A worker earns $20 an hour and 25% more for overtime. What does he earn for 38 hours and 4 hours of overtime?",
        "860",
    ),
    Case(
        "What is the average of 12, 17, 25 and 30?",
        "21",
        "Compute the mean of these four values: 12, 17, 25, 30.",
        "What is the median of 12, 17, 25 and 31?",
        "21",
    ),
)

SCIENCE = (
    Case(
        "Which gas do plants take in for photosynthesis?",
        "carbon dioxide",
        "During photosynthesis, what gas is absorbed by plants?",
        "Which gas do plants give off in photosynthesis?",
        "oxygen",
    ),
    Case(
        "What part of the cell holds the genetic material?",
        "nucleus",
        "In which cell structure is the DNA stored?",
        "What part of the cell makes proteins?",
        "ribosome",
    ),
    Case(
        "What is the process by which a liquid turns into a gas?",
        "evaporation",
        "How do we call it when a fluid becomes vapor?",
        "What is the process by which a gas turns into a liquid?",
        "condensation",
    ),
    Case(
        "Which planet is closest to the sun?",
        "Mercury",
        "Name the planet whose orbit lies nearest to our star.",
        "Which planet is farthest from the sun?",
        "Neptune",
    ),
    Case(
        "Which organ pumps blood through the body?",
        "heart",
        "What organ is responsible for making blood circulate?",
        "Which organ cleans the blood of the body?",
        "kidney",
    ),
    Case(
        "What type of rock is formed when magma cools?",
        "igneous",
        "Molten rock that cools down and hardens becomes which kind of rock?",
        "What type of rock is formed when sediments are pressed together?",
        "sedimentary",
    ),
    Case(
        "What force pulls objects towards the center of the earth?",
        "gravity",
        "Things fall to the ground because of which force?",
        "What force slows down objects that slide over a surface?",
        "friction",
    ),
    Case(
        "Which particles of an atom have a negative charge?",
        "electrons",
        "What do we call the negatively charged constituents of atoms?",
        "Which particles of an atom have a positive charge?",
        "protons",
    ),
    Case(
        "What do bees collect from flowers to make honey?",
        "nectar",
        "To produce honey, which substance do bees gather from blossoms?",
        "What do bees use to build the combs of their hives?",
        "wax",
    ),
    Case(
        "What instrument measures air pressure?",
        "barometer",
        "With which device can the pressure of the atmosphere be determined?",
        "What instrument measures wind speed?",
        "anemometer",
    ),
    Case(
        "Why does the moon shine at night?",
        "it reflects sunlight",
        "What makes the moon look bright when it is dark?",
        "Why does the moon change its shape during a month?",
        "we see other parts of its lit half",
    ),
    Case(
        "Which vitamin does the skin produce in sunlight?",
        "vitamin D",
        "What vitamin is made by our skin when the sun shines on it?",
        "Which vitamin is found in oranges and lemons?",
        "vitamin C",
    ),
    Case(
        "What is the hardest natural mineral?",
        "diamond",
        "No mineral found in nature is harder than which one?",
        "What is the softest mineral on the scale of Mohs?",
        "talc",
    ),
    Case(
        "What are animals called that eat only plants?",
        "herbivores",
        "What is the word for creatures living exclusively on vegetation?",
        "What are animals called that eat only meat?",
        "carnivores",
    ),
    Case(
        "Which blood cells fight infections?",
        "white blood cells",
        "Defending the body against germs is the job of which cells in the blood?",
        "Which blood cells carry oxygen?",
        "red blood cells",
    ),
    Case(
        "What causes the tides of the ocean?",
        "the pull of the moon",
        "Why does the sea rise and fall twice a day?",
        "What causes the waves of the ocean?",
        "wind",
    ),
    Case(
        "What is the largest organ of the human body?",
        "skin",
        "Which organ of people is bigger than all the others?",
        "What is the largest bone of the human body?",
        "femur",
    ),
    Case(
        "What kind of energy is stored in a stretched spring?",
        "elastic energy",
        "A spring that has been pulled apart holds which form of energy?",
        "What kind of energy does a moving car have?",
        "kinetic energy",
    ),
    Case(
        "Which acid is in the stomach and helps to digest food?",
        "hydrochloric acid",
        "Name the acid by which our stomach breaks down what we eat.",
        "Which acid is in vinegar and gives it its taste?",
        "acetic acid",
    ),
    Case(
        "How do sharks breathe under water?",
        "with gills",
        "By what means does a shark get its oxygen in the sea?",
        "How do whales breathe if they live in water?",
        "with lungs",
    ),
)

DAILY = (
    Case(
        "Where would you put a plate after washing it?",
        "cupboard",
        "Once a dish has been cleaned, in what place does it belong?",
        "Where would you put a plate before washing it?",
        "sink",
    ),
    Case(
        "What do people use to keep dry when it rains?",
        "umbrella",
        "Which object protects somebody from getting wet in a shower?",
        "What do people use to keep their hands warm in winter?",
        "gloves",
    ),
    Case(
        "If you are hungry late at night, where would you look for food?",
        "refrigerator",
        "Someone wakes up at midnight wanting a snack. To which place do they go?",
        "If you are thirsty on a hike, where would you look for water?",
        "stream",
    ),
    Case(
        "What might a person do if he has lost his house keys?",
        "call a locksmith",
        "A man cannot find the keys to his home. How could he react?",
        "What might a person do if he has lost his dog?",
        "put up posters",
    ),
    Case(
        "Where do you go to borrow a book?",
        "library",
        "Which place would you visit to take out a novel on loan?",
        "Where do you go to buy a book?",
        "bookshop",
    ),
    Case(
        "The girl was proud of her painting. Where would she want it to be?",
        "on the wall",
        "A girl likes the picture that she made. In which spot would she like it shown?",
        "The girl was ashamed of her painting. What would she do with it?",
        "hide it",
    ),
    Case(
        "Why would someone set an alarm clock?",
        "to get up in time",
        "For what reason does a person program a clock to ring in the morning?",
        "Why would someone throw away an alarm clock?",
        "it is broken",
    ),
    Case(
        "What do you feel when a friend forgets your birthday?",
        "disappointed",
        "How does it make you feel if your birthday slips a friend's mind?",
        "What do you feel when a friend remembers your birthday?",
        "glad",
    ),
    Case(
        "Kim forgot to water the plants for a month. What will happen to them?",
        "they wither",
        "For four weeks nobody gave the plants any water because Kim did not think of it. What becomes of them?",
        "Kim remembered to water the plants every day. What will happen to them?",
        "they grow",
    ),
    Case(
        "What room is a stove usually found in?",
        "kitchen",
        "In which part of the house does the cooker normally stand?",
        "What room is a bathtub usually found in?",
        "bathroom",
    ),
    Case(
        "What should a driver do when the traffic light turns red?",
        "stop",
        "How is someone behind the wheel supposed to react to a red signal?",
        "What should a driver do when the traffic light turns green?",
        "go on",
    ),
    Case(
        "Sam helped his neighbour to move the sofa. How would you describe Sam?",
        "helpful",
        "A couch had to be carried and Sam lent his neighbor a hand. What kind of person is he?",
        "Sam shouted at his neighbour about the sofa. How would you describe Sam?",
        "rude",
    ),
)

FACTS = (
    Case(
        "Who wrote the play Romeo and Juliet?",
        "William Shakespeare",
        "Romeo and Juliet is a drama by which author?",
        "Who wrote the music of the ballet Romeo and Juliet?",
        "Sergei Prokofiev",
    ),
    Case(
        "In what year did the Berlin Wall fall?",
        "1989",
        "When was the wall that divided Berlin opened?",
        "In what year was the Berlin Wall built?",
        "1961",
    ),
    Case(
        "What is the capital of Australia?",
        "Canberra",
        "Which city is the seat of the Australian government?",
        "What is the largest city of Australia?",
        "Sydney",
    ),
    Case(
        "Which river flows through Cairo?",
        "Nile",
        "The city of Cairo lies on the banks of what river?",
        "Which river flows through Baghdad?",
        "Tigris",
    ),
    Case(
        "Who was the first person to walk on the moon?",
        "Neil Armstrong",
        "Name the human being who set foot on the lunar surface before anyone else.",
        "Who was the second person to walk on the moon?",
        "Buzz Aldrin",
    ),
    Case(
        "Which country has the most inhabitants in Africa?",
        "Nigeria",
        "What is the most populous African nation?",
        "Which country has the largest area in Africa?",
        "Algeria",
    ),
    Case(
        "Which metal is liquid at room temperature?",
        "mercury",
        "What metallic element does not stay solid in a normally heated room?",
        "Which metal is the best conductor of electricity?",
        "silver",
    ),
    Case(
        "What language is spoken in Brazil?",
        "Portuguese",
        "Brazilians have what mother tongue?",
        "What currency is used in Brazil?",
        "real",
    ),
    Case(
        "How do you reverse a list in Python without changing it?",
        "reversed",
        "Which way is there in Python to get the elements of a list backwards while the list itself stays as it is?",
        "How do you sort a list in Python without changing it?",
        "sorted",
    ),
    Case(
        "What does the word abundant mean?",
        "plentiful",
        'Give the meaning of "abundant".',
        "What does the word reluctant mean?",
        "unwilling",
    ),
    Case(
        "Write a polite letter that declines an invitation to a wedding.",
        "Dear friends",
        "Compose a courteous note saying that you will not be able to come to a wedding you were invited to.",
        "Write a cheerful letter that accepts an invitation to a wedding.",
        "Dear friends",
    ),
    Case(
        "Which painter cut off a part of his own ear?",
        "Vincent van Gogh",
        "Name the artist who mutilated his ear with a razor.",
        "Which painter is known for melting clocks?",
        "Salvador Dali",
    ),
)

CASES = NUMBERS + SCIENCE + DAILY + FACTS
