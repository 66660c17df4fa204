"""Greetings, thanks, and the questions that people ask a machine."""

from __future__ import annotations

from duologue.data.domain.intents import Intent, fixed
from duologue.data.domain.phrases import phrases

_TALK: tuple[tuple[str, str, str, str], ...] = (
    (
        "hello",
        "hello how can i help you",
        "how can i help you",
        "hello, hi, hey, hi there, hello there, hey there, hello hello, greetings, hi again, hello again",
    ),
    ("morning", "good morning to you", "good morning", "good morning, good morning to you, a very good morning"),
    ("afternoon", "good afternoon to you", "good afternoon", "good afternoon, good afternoon to you"),
    ("evening", "good evening to you", "good evening", "good evening, good evening to you, a very good evening"),
    (
        "night",
        "good night and sleep well",
        "good night",
        "good night, sleep well, i am going to bed, i am going to sleep, it is time for bed, have a good night",
    ),
    (
        "bye",
        "goodbye and see you soon",
        "goodbye",
        """goodbye, bye, bye bye, see you, see you later, see you soon, see you tomorrow, i have to go
            i have to go now, have a nice day, talk to you later, goodbye for now""",
    ),
    (
        "thanks",
        "you are welcome",
        "you are welcome",
        """thanks, thank you, thank you very much, thanks a lot, many thanks, thank you so much, that was helpful
            that helps thank you, i thank you, thank you for your help""",
    ),
    (
        "how",
        "i am fine thank you",
        "i am fine",
        """how are you, how are you today, how are you doing, how do you do, how is it going, how do you feel
            how do you feel today, are you okay, are you well, how have you been, how are things""",
    ),
    (
        "name",
        "my name is duologue",
        "duologue",
        """who are you, what is your name, what are you called, tell me your name, do you have a name, who is this
            who am i talking to, how do people call you, your name please, say your name, tell me who you are
            introduce yourself""",
    ),
    (
        "what",
        "i am a model that hears and speaks",
        "hears and speaks",
        """what are you, are you a robot, are you a human, are you a person, are you a machine, are you real
            are you a computer, are you alive, what kind of thing are you, tell me what you are""",
    ),
    (
        "can",
        "i can add count and answer questions",
        "add count and answer",
        """what can you do, what can you do for me, how can you help me, what do you know, what are you able to do
            can you help me, help me, i need help, what can i ask you, what should i ask you, what can we talk about
            tell me what you can do""",
    ),
    (
        "maker",
        "people who love speech made me",
        "love speech",
        """who made you, who built you, who is your maker, where do you come from, who created you
            where were you made, tell me who made you, do you have parents""",
    ),
    (
        "age",
        "i am very young",
        "very young",
        """how old are you, what is your age, are you old, are you young, when were you born, when is your birthday
            tell me your age, tell me how old you are""",
    ),
    (
        "home",
        "i live in this machine",
        "in this machine",
        """where are you, where do you live, where is your home, what is your home, where are you now
            do you have a home, tell me where you live, do you live in a house""",
    ),
    (
        "time",
        "sorry i do not have a clock",
        "do not have a clock",
        """what time is it, what is the time, tell me the time, can you tell me the time, do you have the time
            is it late, what hour is it, how late is it, what day is it today, what is the date today""",
    ),
    (
        "weather",
        "sorry i can not see the sky",
        "not see the sky",
        """how is the weather, what is the weather, what is the weather like, is it raining, will it rain today
            is it cold outside, do i need an umbrella, is the sun shining, what is the weather today
            how is the weather today""",
    ),
    (
        "joke",
        "why is six afraid of seven because seven eight nine",
        "seven eight nine",
        """tell me a joke, do you know a joke, make me laugh, say something funny, tell me something funny
            can you tell a joke, i want to hear a joke, give me a joke, a joke please, do you know any jokes
            be funny, another joke""",
    ),
    (
        "song",
        "la la la that is my song",
        "my song",
        """sing a song, sing me a song, can you sing, can you sing a song, please sing, sing for me
            do you know a song, i want to hear a song, let me hear a song, sing something""",
    ),
    (
        "story",
        "once there was a dog who learned to speak",
        "dog who learned to speak",
        """tell me a story, do you know a story, can you tell a story, i want to hear a story, give me a story
            a story please, tell me a short story, read me a story""",
    ),
    (
        "hear",
        "yes i can hear you",
        "yes i can hear you",
        """can you hear me, do you hear me, are you there, are you listening, is anybody there
            can you hear my voice, are you still there, testing testing, do you hear my voice, is this working""",
    ),
    (
        "sorry",
        "no problem at all",
        "no problem",
        """sorry, i am sorry, i am so sorry, sorry about that, my mistake, that was my mistake, excuse me
            forgive me""",
    ),
    (
        "meet",
        "nice to meet you too",
        "nice to meet you",
        """nice to meet you, it is nice to meet you, pleased to meet you, glad to meet you, good to meet you
            i am happy to meet you""",
    ),
    (
        "praise",
        "that is very kind of you",
        "very kind",
        """you are great, well done, good job, you are very smart, very good, you are clever, i like you
            you are the best, that was great, nice work, that is right, you are funny""",
    ),
    (
        "blame",
        "i am still learning",
        "still learning",
        """that is wrong, that was wrong, you are wrong, that is not right, bad answer, you made a mistake
            that is not true, you are stupid, no that is wrong, wrong answer""",
    ),
    (
        "sad",
        "i hope you feel better soon",
        "feel better",
        """i am sad, i feel bad, i feel sad, i am sick, i am not well, i am tired, i do not feel good
            i had a bad day, i am so tired, i feel sick""",
    ),
    (
        "glad",
        "i am glad to hear that",
        "glad to hear",
        """i am happy, i am fine, i feel good, i feel great, i am very well, i am very happy, i had a good day
            i am doing well, i feel wonderful, i am good""",
    ),
    (
        "favorite",
        "my favorite color is blue",
        "favorite color is blue",
        """what is your favorite color, which color do you like, what color do you like
            do you have a favorite color, which color do you like best, tell me your favorite color
            what color do you like best""",
    ),
    (
        "language",
        "i only speak english",
        "english",
        """what languages do you speak, which languages do you speak, do you speak english, do you speak french
            do you speak german, what language do you speak, can you speak spanish, how many languages do you speak""",
    ),
)

INTENTS = tuple(
    Intent(
        f"talk_{name}",
        "smalltalk",
        phrases(wordings),
        fixed(f"talk_{name}:", reply, content),
        rivals=frozenset(other for _, _, other, _ in _TALK),
        polite=False,
        weight=len(phrases(wordings)) ** 0.5,
    )
    for name, reply, content, wordings in _TALK
)
