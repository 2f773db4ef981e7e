//! Trains the tagger of the built-in English rules on annotated conversations.
//!
//! `train_tagger OUT FILE...` writes a tagger with the words of the built-in one and weights found on the files' lines, each
//! a conversation (`training/README.md`); lines that are empty or begin with `#` are left out. Options stand in
//! the environment: PASSES, RATE, L1, L2, DROPOUT, SEEN, LOST.

use memoir_extract::{Annotated, Rules, TrainingOptions};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or("usage: train_tagger OUT FILE...")?;
    let rules = Rules::built_in()?;
    let mut sentences = Vec::new();
    for file in arguments {
        for (number, line) in (1..).zip(std::fs::read_to_string(&file)?.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let conversation = Annotated::parse(line).map_err(|error| format!("{file}:{number}: {error}"))?;
            sentences.extend(rules.training_sentences(&conversation));
        }
    }
    let usual = TrainingOptions::default();
    let options = TrainingOptions {
        passes: option("PASSES", usual.passes)?,
        rate: option("RATE", usual.rate)?,
        l1: option("L1", usual.l1)?,
        l2: option("L2", usual.l2)?,
        dropout: option("DROPOUT", usual.dropout)?,
        seen: option("SEEN", usual.seen)?,
        lost: option("LOST", usual.lost)?,
    };
    println!("{} sentences, {options:?}", sentences.len());
    let tagger = rules.train_tagger(&sentences, &options);
    std::fs::write(&out, &tagger)?;
    println!("{out}: {} bytes", tagger.len());
    Ok(())
}

fn option<T: std::str::FromStr>(name: &str, usual: T) -> Result<T, Failure> {
    let Ok(text) = std::env::var(name) else { return Ok(usual) };
    text.parse().map_err(|_| format!("{name}={text} is no number").into())
}
