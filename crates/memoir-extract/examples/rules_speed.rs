//! How fast the rules read: `rules_speed FILE [ROUNDS]` extracts from windows of ten messages of one user and prints
//! messages a second on one core. FILE holds events as `memoir generate` writes them.

use std::collections::BTreeMap;
use std::time::Instant;

use memoir_core::Timestamp;
use memoir_core::profile::{ExtractionCall, ExtractionRequest, Message, Trigger, WindowMessage};
use memoir_extract::Rules;

const WINDOW: usize = 10;

#[derive(serde::Deserialize)]
struct Event {
    user_id: String,
    event_id: String,
    conversation_id: String,
    role: String,
    content: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: rules_speed FILE [ROUNDS]")?;
    let rounds: usize = arguments.next().map_or(Ok(1), |rounds| rounds.parse())?;
    let mut users: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for line in std::fs::read_to_string(file)?.lines().take(200_000) {
        let event: Event = serde_json::from_str(line)?;
        let (ts, at) = (Timestamp::default(), Timestamp::default());
        let Event { user_id, event_id, conversation_id, role, content } = event;
        users.entry(user_id).or_default().push(Message { event_id, conversation_id, role, content, ts, at });
    }
    let windows = users.values().flat_map(|messages| messages.chunks(WINDOW));
    let calls: Vec<ExtractionCall> = windows.map(call_of).collect();
    let messages: usize = calls.iter().map(|call| call.request.window.len()).sum();

    let rules = Rules::built_in()?;
    let warm: usize = calls.iter().take(200).map(|call| rules.extract(call).len()).sum();
    let began = Instant::now();
    let mut facts = 0;
    for _ in 0..rounds {
        facts += calls.iter().map(|call| rules.extract(call).len()).sum::<usize>();
    }
    let seconds = began.elapsed().as_secs_f64();
    let read = (messages * rounds) as f64;
    println!("{read} messages, {facts} facts (warm-up {warm}), {seconds:.2} s: {:.0} messages/s", read / seconds);
    Ok(())
}

fn call_of(messages: &[Message]) -> ExtractionCall {
    let window = (1..).zip(messages).map(|(seq, message)| WindowMessage { seq, message: message.clone() }).collect();
    let request = ExtractionRequest {
        number: 1,
        trigger: Trigger::Threshold,
        emission_ts: Timestamp::default(),
        fresh_from: 1,
        window,
    };
    ExtractionCall { request, emission_id: "speed".to_owned(), facts: Vec::new() }
}
