//! Serenade and our session models on the same log, in one process, one thread, taking turns:
//! `bench-serenade TRAIN TEST` with files of `session,item,timestamp`, `.gz` or not.
//!
//! Every prefix of a test session asks for 20 items. Predictions are counted per second of the
//! processor, from the prefix to the list; hit rate and MRR are judged on the lists themselves, for
//! both by this program. Serenade gets a visit's place in the log as its time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write as _};
use std::path::Path;

use recommend_domain::{
    ItemIdx, SessionModel, SessionPopularity, SessionScores, SessionScratch, Sessions, StanModel,
    StanOptions, VmisModel, VmisOptions,
};
use rustix::time::{ClockId, clock_gettime};
use serenade::vmisknn::{predict, vmis_index::VMISIndex};

/// Length of the lists.
const K: usize = 20;
/// What both look at: the newest clicks, the newest visits, the most similar of them. Those of the
/// paper's own experiments on quality and speed (m = k = 500), and of Serenade's service.
const WINDOW: usize = 9;
const SAMPLE: usize = 500;
const NEIGHBOURS: usize = 500;
/// Passes over all queries by each; the median counts.
const PASSES: usize = 5;

type Visit = Vec<u32>;

/// A way to answer: puts up to [`K`] items, best first, into the list.
type Answer<'a> = Box<dyn FnMut(&[u32], &mut Vec<u32>) + 'a>;

fn main() -> io::Result<()> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [train, test] = &paths[..] else {
        return Err(io::Error::other("usage: bench-serenade TRAIN TEST"));
    };
    let mut names = HashMap::new();
    let training = read(Path::new(train), &mut names)?;
    let items = names.len();
    let mut test = read(Path::new(test), &mut names)?;
    // Serenade panics on items that it never saw; neither can do anything with them.
    test.iter_mut()
        .for_each(|visit| visit.retain(|item| (*item as usize) < items));

    let file = tempfile::Builder::new().suffix(".tsv").tempfile()?;
    write_for_serenade(&training, file.as_file())?;
    let index = VMISIndex::new_from_csv(&file.path().display().to_string(), SAMPLE, 1.0);
    let theirs: Answer<'_> = Box::new(move |prefix, list| {
        let newest = &prefix[prefix.len().saturating_sub(WINDOW)..];
        let visit: Vec<u64> = newest.iter().map(|item| u64::from(*item)).collect();
        let found = predict(&index, &visit, NEIGHBOURS, SAMPLE, K, false);
        list.extend(
            found
                .into_sorted_vec()
                .iter()
                .map(|scored| scored.id as u32),
        );
    });

    let visits: Vec<Vec<ItemIdx>> = training
        .iter()
        .map(|visit| visit.iter().map(|item| ItemIdx(*item)).collect())
        .collect();
    let sessions = Sessions::new(visits.iter().map(Vec::as_slice), items);
    let popular = SessionPopularity::train(&sessions, 0.0);
    let options = VmisOptions {
        window: WINDOW,
        sample: SAMPLE,
        neighbours: NEIGHBOURS,
        ..VmisOptions::default()
    };
    let ours = VmisModel::train(&sessions, &options);
    let same = VmisModel::train(
        &sessions,
        &VmisOptions {
            repeat: 0.0,
            ..options
        },
    );
    let stan = StanModel::train(&sessions, &StanOptions::default());
    let mut rivals = [
        ("serenade 0.3.1", theirs),
        ("vmis, the last item never shown", answer(&same, &popular)),
        ("vmis", answer(&ours, &popular)),
        ("v-stan", answer(&stan, &popular)),
    ];
    compare(&mut rivals, &test)
}

fn answer<'a>(model: &'a dyn SessionModel, popular: &'a SessionPopularity) -> Answer<'a> {
    let (mut scratch, mut scores) = (SessionScratch::default(), SessionScores::default());
    let (mut prefix, mut top) = (Vec::new(), Vec::new());
    Box::new(move |visit, list| {
        prefix.clear();
        prefix.extend(visit.iter().map(|item| ItemIdx(*item)));
        model.score(&prefix, &mut scratch, &mut scores);
        scores.top(K, popular, &mut top);
        list.extend(top.iter().map(|(item, _)| item.0));
    })
}

/// Lets everybody answer every query, in turns, and prints what came out.
fn compare(rivals: &mut [(&str, Answer<'_>)], test: &[Visit]) -> io::Result<()> {
    let mut seconds = vec![Vec::new(); rivals.len()];
    let mut quality = vec![(0.0, 0.0); rivals.len()];
    let mut micros: Vec<Vec<f64>> = vec![Vec::new(); rivals.len()];
    let queries = test
        .iter()
        .map(|visit| visit.len().saturating_sub(1))
        .sum::<usize>() as f64;
    for pass in 0..PASSES {
        for (at, (_, answer)) in rivals.iter_mut().enumerate() {
            let (mut list, mut total) = (Vec::new(), 0.0);
            for visit in test {
                for end in 1..visit.len() {
                    list.clear();
                    let before = cpu_seconds();
                    answer(&visit[..end], &mut list);
                    let taken = cpu_seconds() - before;
                    total += taken;
                    if pass == 0 {
                        micros[at].push(taken * 1e6);
                        if let Some(place) = list.iter().position(|item| *item == visit[end]) {
                            quality[at].0 += 1.0 / queries;
                            quality[at].1 += 1.0 / (queries * (place + 1) as f64);
                        }
                    }
                }
            }
            seconds[at].push(total);
        }
    }
    let rates: Vec<f64> = seconds
        .iter_mut()
        .map(|passes| queries / median(passes))
        .collect();
    let mut out = io::stdout().lock();
    for (at, (name, _)) in rivals.iter().enumerate() {
        let mut p99 = micros[at].clone();
        p99.sort_by(f64::total_cmp);
        writeln!(
            out,
            "{{\"model\":\"{name}\",\"queries\":{queries},\"hit_rate\":{:.4},\"mrr\":{:.4},\
             \"predictions_per_cpu_second\":{:.0},\"us_p50\":{:.1},\"us_p99\":{:.1},\"ratio\":{:.2}}}",
            quality[at].0,
            quality[at].1,
            rates[at],
            p99[p99.len() / 2],
            p99[p99.len() * 99 / 100],
            rates[at] / rates[0]
        )?;
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Reads visits in order of the file, each in order of its times; items are numbered as they come.
fn read(path: &Path, names: &mut HashMap<String, u32>) -> io::Result<Vec<Visit>> {
    let file = File::open(path)?;
    let source: Box<dyn Read> = match path.extension() {
        Some(extension) if extension == "gz" => Box::new(flate2::read::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut visits: Vec<Vec<(f64, u32)>> = Vec::new();
    for line in BufReader::new(source).lines().skip(1) {
        let line = line?;
        let mut fields = line.split(',');
        let (Some(session), Some(item), Some(time)) = (fields.next(), fields.next(), fields.next())
        else {
            return Err(io::Error::other(format!("{}: {line:?}", path.display())));
        };
        let next = names.len() as u32;
        let item = *names.entry(item.to_owned()).or_insert(next);
        let place = *places.entry(session.to_owned()).or_insert(visits.len());
        if place == visits.len() {
            visits.push(Vec::new());
        }
        visits[place].push((time.parse().map_err(io::Error::other)?, item));
    }
    visits
        .iter_mut()
        .for_each(|visit| visit.sort_by(|a, b| a.0.total_cmp(&b.0)));
    // By their first moment, equal ones in order of the file: as `rapport lab next-item` orders them.
    visits.sort_by(|a, b| a[0].0.total_cmp(&b[0].0));
    Ok(visits
        .into_iter()
        .map(|visit| visit.into_iter().map(|it| it.1).collect())
        .collect())
}

fn write_for_serenade(training: &[Visit], file: &File) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    writeln!(out, "SessionId\tItemId\tTime")?;
    for (session, visit) in training.iter().enumerate() {
        for item in visit {
            writeln!(out, "{}\t{item}\t{}", session + 1, session + 1)?;
        }
    }
    out.flush()
}
