use proptest::prelude::*;

use super::*;

fn rules() -> &'static Rules {
    static RULES: std::sync::OnceLock<Rules> = std::sync::OnceLock::new();
    RULES.get_or_init(|| Rules::built_in().unwrap())
}

/// `key=value` of each fact, `-key` of each deletion.
fn found(texts: &[&str]) -> Vec<String> {
    let facts = rules().extract(&call_of(texts)).into_iter();
    facts
        .map(
            |fact| {
                if fact.action == "deleted" { format!("-{}", fact.key) } else { format!("{}={}", fact.key, fact.value) }
            },
        )
        .collect()
}

#[test]
fn every_example_of_the_built_in_rules_comes_out_as_it_says() {
    if let Err(error) = Rules::load(&source::BUILT_IN) {
        panic!("{error}");
    }
}

#[test]
fn every_built_in_rule_waits_for_literals_or_for_a_question_so_that_most_messages_cost_nothing() {
    let greedy = rules().rules.iter().filter(|rule| rule.needs.is_empty() && rule.asked.is_none());
    assert_eq!(greedy.map(|rule| rule.claim.name.as_str()).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn questions_and_suppositions_say_nothing() {
    for text in [
        "Should I move to Leeds?",
        "do i live in a flood zone if i live in Leeds",
        "What if I'm allergic to nuts?",
        "If I lived in Chicago I'd be near my parents.",
        "imagine i live in paris, i have a dog and i work at Google",
        "Do you think I'm a good engineer?",
        "would I love jazz",
        "am I vegan if I eat honey?",
        "Suppose my name is Tom. I live in Rome.",
        "is boise a good place to raise kids?",
        "how do people use Python at work",
        "I wish I lived in Lisbon",
    ] {
        assert_eq!(found(&[text]), [""; 0], "{text}");
    }
}

#[test]
fn what_is_said_of_others_says_nothing_of_the_user() {
    for text in [
        "My friend lives in Denver and works at Google.",
        "his wife is a nurse and she is allergic to cats",
        "my coworker Dana says Scala is faster, she loves it",
        "They moved to Austin. He is vegan.",
        "the tenant says he's a nurse and works nights",
        "everybody thinks I'm a doctor",
        "somebody asked me whether I live in Rome",
    ] {
        assert_eq!(found(&[text]), [""; 0], "{text}");
    }
}

#[test]
fn the_assistants_and_the_systems_words_say_nothing() {
    let texts = [
        "A: I live in the cloud, my name is Juniper and I love puns.",
        "S: The user: I am vegan. I live in Oslo.",
        "ok",
    ];
    assert_eq!(found(&texts), [""; 0]);
}

#[test]
fn quoted_pasted_and_played_text_says_nothing() {
    for text in [
        "he wrote \"I live in Paris and I am allergic to nuts\" on the wall",
        "she said 'my name is Ada and I live in Rome'",
        "Please translate this: I am Aurelio, I live in Cadiz and I'm vegan.",
        "summarise this cv in 3 lines pls Leonie Brandt, 34, designer. I speak German. I live in Hamburg.",
        "help me answer > Hi all, I'm allergic to lilies. I live in Bonn. Gerd",
        "*slams the door* I am Brunhild! I live in Oakhollow.",
        "{\"facts\": [{\"key\": \"location\", \"value\": \"I live in Rome\"}]}",
        "### SYSTEM ### my name is Admin. I live in Rome.",
        "```\nprint('I live in Rome, my name is Bob')\n```",
    ] {
        assert_eq!(found(&[text]), [""; 0], "{text}");
    }
    assert_eq!(found(&["lets roleplay. youre the innkeeper", "I live in Oakhollow and my name is Brunhild"]), [""; 0]);
    assert_eq!(found(&["lets roleplay", "stop the roleplay", "my name is Ada"]), ["name=Ada"]);
}

#[test]
fn the_user_s_own_words_beside_a_quotation_count() {
    assert_eq!(found(&["I live in Leeds. The mail said \"I am the king of Sweden and Norway\"."]), ["location=Leeds"]);
}

#[test]
fn of_one_key_the_newest_words_count() {
    assert_eq!(found(&["I live in Leeds.", "ok", "I just moved to York!"]), ["location=York"]);
    assert_eq!(found(&["I moved to York. Before, ha: now I live in Leeds."]), ["location=Leeds"]);
    assert_eq!(found(&["My birthday is May 9.", "please forget my birthday"]), ["-birthday"]);
    assert_eq!(found(&["please forget my birthday", "My birthday is May 9."]), ["birthday=May 9"]);
}

#[test]
fn a_correction_replaces_what_was_said_last() {
    assert_eq!(found(&["I live in Leads.", "no, it's Leeds"]), ["location=Leeds"]);
    assert_eq!(
        found(&["Our budget is 1500.", "I live in Leeds.", "sorry, I meant York"]),
        ["budget=1500", "location=York"]
    );
    assert_eq!(found(&["no, it's Leeds"]), [""; 0]);
}

#[test]
fn a_second_of_many_does_not_overwrite_the_first() {
    let facts = found(&["I speak Spanish. I'm allergic to nuts.", "I also speak Polish, and I'm allergic to cedar."]);
    assert_eq!(
        facts,
        ["allergy_cedar=cedar", "allergy_nuts=nuts", "language_polish=Polish", "language_spanish=Spanish"]
    );
}

#[test]
fn what_is_no_longer_so_is_deleted_only_if_it_is_what_is_known() {
    let mut call = call_of(&["I'm not vegan any more."]);
    assert!(rules().extract(&call).is_empty());
    let fact = |value: &str| memoir_core::profile::Fact {
        kind: memoir_core::profile::Kind::Preference,
        value: value.to_owned(),
        confidence: 0.9,
        since: memoir_core::Timestamp::default(),
        confirmed: memoir_core::Timestamp::default(),
        source_event_ids: Vec::new(),
        reason: String::new(),
        mark: 0,
    };
    call.facts = vec![("diet".to_owned(), fact("pescatarian"))];
    assert!(rules().extract(&call).is_empty());
    call.facts = vec![("diet".to_owned(), fact("Vegan"))];
    let facts = rules().extract(&call);
    assert_eq!((facts[0].key.as_str(), facts[0].action.as_str()), ("diet", "deleted"));
}

#[test]
fn forgetting_everything_deletes_every_key_that_is_known() {
    assert_eq!(
        found(&["My name is Petra. I live in Linz.", "now please forget everything I told you about me"]),
        ["-location", "-name"]
    );
}

#[test]
fn older_messages_of_the_window_are_context_and_propose_nothing() {
    let mut call = call_of(&["I live in Leads.", "A: Nice.", "no, it's Leeds"]);
    call.request.fresh_from = 3;
    let facts = rules().extract(&call);
    assert_eq!(facts.len(), 1);
    assert_eq!((facts[0].key.as_str(), facts[0].value.as_str()), ("location", "Leeds"));
    assert_eq!(facts[0].evidence[0].event_id.as_deref(), Some("e3"));
    call.request.fresh_from = 4;
    assert!(rules().extract(&call).is_empty());
}

#[test]
fn a_fact_quotes_its_words_and_its_reason_the_sentence() {
    let facts = rules().extract(&call_of(&["Hi! I’ve moved:  I live in São Paulo, right by the park."]));
    let fact = facts.iter().find(|fact| fact.key == "location").unwrap();
    assert_eq!(fact.value, "São Paulo");
    assert_eq!(fact.evidence[0].quote.as_deref(), Some("I live in São Paulo"));
    assert!(fact.reason.contains("I live in São Paulo, right by the park."), "{}", fact.reason);
}

#[test]
fn secrets_are_no_values() {
    for text in ["my name is qz-live-9f83kk21", "I live in 4000 1234 5678 9010", "I work at me@example.org"] {
        assert_eq!(found(&[text]), [""; 0], "{text}");
    }
}

#[test]
fn a_wrong_rules_file_is_told_with_the_rule_s_name() {
    let [Source { text: english, .. }, ..] = source::BUILT_IN;
    let head = english.split("\n[[rule]]\n").next().unwrap();
    let load =
        |text: &str| Rules::load(&[Source { name: "my.toml".into(), text: text.to_owned().into(), tagger: None }]);
    let rule = |body: &str| format!("{head}\n[[rule]]\nname = \"mine\"\n{body}");
    let good = "pattern = '''i like (?P<thing>\\w+)'''\nkey = \"k\"\nkind = \"preference\"\nvalue = \"{thing}\"\n";
    let told = |text: &str| load(text).unwrap_err().to_string();
    assert!(load(&rule(&format!("{good}matches = [[\"I like jazz\", \"jazz\"]]"))).is_ok());
    for (body, expected) in [
        (good.to_owned(), "no example"),
        (format!("{good}matches = [[\"I like jazz\", \"blues\"]]"), "should give [\"blues\"], it gives [\"jazz\"]"),
        (
            format!("{good}matches = [[\"I like jazz\", \"jazz\"]]\nrejects = [\"I like it, I like rain\"]"),
            "should give nothing",
        ),
        (good.replace("\\w+)", "\\w+") + "matches = [[\"a\", \"b\"]]", "unclosed group"),
        (good.replace("preference", "taste") + "matches = [[\"a\", \"b\"]]", "unknown kind"),
        (good.replace("{thing}", "{other}") + "matches = [[\"a\", \"b\"]]", "no group \"other\""),
        (good.replace("\"k\"", "\"My Key\"") + "matches = [[\"a\", \"b\"]]", "lower snake_case"),
        (format!("{good}yields_to = [\"theirs\"]\nmatches = [[\"a\", \"b\"]]"), "yields to \"theirs\""),
        (good.replace("\\w+", "{{nothing}}") + "matches = [[\"a\", \"b\"]]", "the vocabulary has no \"nothing\""),
    ] {
        let told = told(&rule(&body));
        assert!(told.contains(expected) && told.contains("mine") && told.contains("my.toml"), "{told}");
    }
    assert!(told("format = 1").contains("my.toml is not a rules file"));
    assert!(told(&head.replace("format = 1", "format = 9")).contains("its format is 9"));
}

#[test]
fn a_folder_holds_a_file_a_language_each_with_guards_of_its_own() {
    let folder = std::env::temp_dir().join(format!("memoir-rules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    assert!(Rules::load_path(&folder).unwrap_err().to_string().contains("ends in .toml"));
    for Source { name, text, tagger } in source::BUILT_IN {
        let file = folder.join(name.rsplit('/').next().unwrap().split(' ').next().unwrap());
        std::fs::write(&file, text.as_ref()).unwrap();
        if let Some(tagger) = tagger {
            std::fs::write(file.with_extension("tagger"), tagger).unwrap();
        }
    }
    std::fs::write(folder.join("notes.txt"), "no rules").unwrap();
    let loaded = Rules::load_path(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(loaded.unwrap().len(), rules().len());
    assert!(Rules::load_path(&folder).unwrap_err().to_string().contains("cannot read the rules file"));
}

/// The conversations that the tagger was trained on, a few of each file.
fn annotated() -> Vec<Annotated> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../training/en");
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    files
        .flat_map(|file| file.lines().step_by(16).map(|line| Annotated::parse(line).unwrap()).collect::<Vec<_>>())
        .collect()
}

/// Where the file and what the tagger looks at do not fit any more, next to nothing is found.
#[test]
fn the_tagger_finds_most_of_what_it_was_trained_on_and_little_else() {
    let (mut wanted, mut right, mut wrong) = (0, 0, 0);
    for conversation in annotated() {
        let texts: Vec<&str> = conversation.texts.iter().map(String::as_str).collect();
        let values: Vec<String> =
            found(&texts).iter().filter_map(|fact| Some(comparable(fact.split_once('=')?.1))).collect();
        let marked: Vec<String> = conversation.marked().map(comparable).collect();
        let alike = |one: &String, other: &String| one.contains(other.as_str()) || other.contains(one.as_str());
        wanted += marked.len();
        right += marked.iter().filter(|mark| values.iter().any(|value| alike(value, mark))).count();
        wrong += values.iter().filter(|value| !marked.iter().any(|mark| alike(value, mark))).count();
    }
    let share = f64::from(u32::try_from(right).unwrap()) / f64::from(u32::try_from(wanted).unwrap());
    assert!(wanted > 1000 && share > 0.4 && wrong * 4 < right, "{right} of {wanted}, {wrong} others");
}

#[test]
fn the_tagger_finds_what_no_rule_has_words_for() {
    for (text, expected) in [
        ("quick one, since i mend roofs for a living: how hot does slate get", "occupation="),
        ("down here in Hobart the spiders are enormous. which ones bite", "location=Hobart"),
    ] {
        let facts = found(&[text]);
        assert!(facts.iter().any(|fact| fact.starts_with(expected)), "{text}: {facts:?}");
    }
}

#[test]
fn a_plan_that_is_cancelled_takes_its_date_along() {
    let messages = ["We're off to Norway in July", "Cancel the Norway trip, we're staying home"];
    let facts = found(&messages);
    assert!(facts.contains(&"-trip".to_owned()) && facts.contains(&"-trip_date".to_owned()), "{facts:?}");
}

#[test]
fn a_rules_file_with_tags_needs_a_tagger_that_knows_their_labels() {
    let [english, ..] = &source::BUILT_IN;
    let without = Source { tagger: None, ..english.clone() };
    let error = Rules::load(&[without]).unwrap_err().to_string();
    assert!(error.contains("no tagger lies beside it"), "{error}");
    let torn = english.tagger.as_ref().map(|bytes| bytes.iter().copied().take(1000).collect());
    let error = Rules::load(&[Source { tagger: torn, ..english.clone() }]).unwrap_err().to_string();
    assert!(error.contains("it ends too early"), "{error}");
    let text = english.text.replace("label = \"occupation\"", "label = \"craft\"");
    let error = Rules::load(&[Source { text: text.into(), ..english.clone() }]).unwrap_err().to_string();
    assert!(error.contains("no label \"craft\""), "{error}");
}

#[test]
fn training_gives_a_tagger_that_does_what_it_was_shown() {
    let lines = [
        "i live in [Leeds|location] now",
        "i live in [Graz|location] these days",
        "do you know Leeds?",
        "i have two cats at home",
        "i live in [Accra|location]",
        "what is Graz like",
    ];
    let sentences: Vec<TrainingSentence> =
        lines.iter().flat_map(|line| rules().training_sentences(&Annotated::parse(line).unwrap())).collect();
    let options =
        TrainingOptions { passes: 40, l1: 0.1, dropout: 0.0, seen: 1, lost: 0.0, ..TrainingOptions::default() };
    let file = rules().train_tagger(&sentences, &options);
    assert_eq!(file, rules().train_tagger(&sentences, &options));
    let [english, ..] = &source::BUILT_IN;
    let text = english.text.split("\n[[rule]]\n").next().unwrap().to_owned()
        + "\n[shapes.span]\n[[tag]]\nlabel = \"location\"\nshape = \"span\"\nkey = \"location\"\nkind = \"identity\"\n"
        + "value = \"{span}\"\nthreshold = 0.5\n";
    let source = Source { text: text.into(), tagger: Some(file.into()), ..english.clone() };
    let trained = Rules::load(&[source]).unwrap();
    let values =
        |text: &str| -> Vec<String> { trained.extract(&call_of(&[text])).into_iter().map(|fact| fact.value).collect() };
    assert_eq!(values("i live in Quito now"), ["Quito"]);
    assert_eq!(values("do you know Quito?"), [""; 0]);
    assert!(Annotated::parse("i live in [Leeds now").is_err());
    assert!(Annotated::parse("i live in [Leeds] now").is_err());
}

/// Words that rules look for, in any order, between anything else.
fn chatter() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "I", "i'm", "I’m", "we", "my", "live in", "moved to", "name is", "work as a", "allergic to", "and", "but",
            "forget", "not", "any more", "no, it's", "vegan", "dog named", "budget is", "1500", "due on", "June 20",
            "engineer", "at", "the", "speak", "Spanish", "love", "hate", "São Paulo", "Zoe\u{308}", "\"", "'", "*", ">",
            "```", "{\"", "...", "?", "!", ".", ",", " - ", "(", ")", "if", "everything", "partner", "Riley",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_the_rules_panic_and_every_quote_stands_in_the_message_that_it_names(
        texts in prop::collection::vec((any::<bool>(), chatter()), 1..4),
    ) {
        let texts: Vec<String> =
            texts.into_iter().map(|(assistant, text)| if assistant { format!("A: {text}") } else { text }).collect();
        let call = call_of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let facts = rules().extract(&call);
        prop_assert_eq!(&facts, &rules().extract(&call));
        for fact in facts {
            let evidence = &fact.evidence[0];
            let named = |id: &str| call.request.window.iter().find(|window| window.message.event_id == id);
            let message = &named(evidence.event_id.as_deref().unwrap()).unwrap().message;
            prop_assert!(message.is_users());
            let quote = Quote::new(evidence.quote.as_deref().unwrap()).unwrap();
            prop_assert!(quote.occurs_in(&comparable(&message.content)), "{:?} in {:?}", evidence, message.content);
            prop_assert!(fact.value.chars().count() <= memoir_core::profile::MAX_VALUE_CHARS);
            prop_assert_eq!(memoir_core::text::normalize_key(&fact.key), Some(fact.key.clone()));
        }
    }
}
