//! A program with many threads, as servers are: batches of requests go through queues, results through shared maps, and most
//! of what a thread allocates another one frees. Batches, so that the queues' own sleeping and waking does not drown the rest.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, mpsc},
    thread,
};

const WORKERS: usize = 16;
const BATCHES: usize = 1600;
const BATCH: usize = 100;

struct Request {
    number: usize,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

type Counts = BTreeMap<String, usize>;
type Sessions = Mutex<HashMap<usize, Arc<String>>>;

fn request(number: usize) -> Request {
    Request {
        number,
        headers: (0..8)
            .map(|i| (format!("header-{i}"), format!("value {}", number * i)))
            .collect(),
        body: vec![number as u8; 100 + number * 7919 % 3000],
    }
}

fn serve(request: &Request, sessions: &Sessions) -> Counts {
    let text: String = request
        .headers
        .iter()
        .map(|(key, value)| format!("{key}: {value};"))
        .collect();
    let session = Arc::new(text.clone());
    sessions
        .lock()
        .unwrap()
        .insert(request.number % 5000, session);
    let mut counts = BTreeMap::new();
    for word in text.split(' ') {
        *counts.entry(word.to_string()).or_insert(0) += request.body.len();
    }
    counts
}

fn main() {
    // An argument divides the work.
    let part = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let sessions = Arc::new(Sessions::default());
    let (answer, answers) = mpsc::sync_channel::<Vec<Counts>>(32);
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (queue, batches) = mpsc::sync_channel::<Vec<Request>>(4);
            let (sessions, answer) = (sessions.clone(), answer.clone());
            let worker = thread::spawn(move || {
                for batch in batches {
                    let counts = batch.iter().map(|one| serve(one, &sessions)).collect();
                    answer.send(counts).unwrap();
                }
            });
            (queue, worker)
        })
        .collect();
    drop(answer);
    let reader =
        thread::spawn(move || answers.iter().flatten().map(|one| one.len()).sum::<usize>());
    for number in 0..BATCHES / part.unwrap_or(1) {
        let batch = (0..BATCH).map(|i| request(number * BATCH + i)).collect();
        workers[number % WORKERS].0.send(batch).unwrap();
    }
    for (queue, worker) in workers {
        drop(queue);
        worker.join().unwrap();
    }
    println!("{}", reader.join().unwrap());
}
