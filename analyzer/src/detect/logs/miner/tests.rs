use proptest::prelude::*;

use super::*;
use crate::detect::logs::template::LogSeverity;

const INFO: Identity<'static> = Identity { severity: LogSeverity::Info, event: "", exception: "" };

/// Mines lines; returns the templates in order of their text, and how many were folded.
fn mined<'a>(lines: impl IntoIterator<Item = &'a str>) -> (Vec<String>, usize) {
    let (miner, folded) = miner(lines);
    let mut texts: Vec<String> = miner.iter().map(Template::text).collect();
    texts.sort();
    (texts, folded)
}

fn miner<'a>(lines: impl IntoIterator<Item = &'a str>) -> (Miner, usize) {
    let (mut miner, mut line, mut folded) = (Miner::default(), Line::default(), 0);
    for (number, text) in (0..).zip(lines) {
        line.read(text);
        let (Place::Known(at) | Place::New(at)) = miner.place(&INFO, &line, false, |_| folded += 1);
        let template = miner.get_mut(at).unwrap();
        assert!(template.fits(line.tokens()).is_some(), "{text:?} is put to {:?}", template.text());
        template.counts.add(number / 100);
    }
    (miner, folded)
}

/// Words that no shape gives away.
fn word(number: u64) -> String {
    let letter = |place: u32| char::from(b'a' + u8::try_from(number / 26u64.pow(place) % 26).unwrap());
    (0..5).map(letter).collect()
}

#[test]
fn lines_with_other_values_are_of_one_template() {
    let lines = ["order 17 accepted in 4ms", "order 18 accepted in 912.5ms", "order 0x1f accepted in 1s"];
    assert_eq!(mined(lines), (vec!["order <*> accepted in <*>".to_owned()], 0));
}

#[test]
fn lines_that_say_something_else_are_kept_apart() {
    let lines = ["order 17 accepted", "order 18 rejected", "connection opened", "connection closed", "order 17"];
    assert_eq!(mined(lines).0.len(), 5);
}

#[test]
fn words_vary_when_many_were_seen_in_one_place() {
    let names: Vec<String> = (0..40).map(|number| format!("user {} logged in", word(number * 977))).collect();
    assert_eq!(mined(names.iter().map(String::as_str)).0, ["user <*> logged in"]);
    // Also where the varying word comes first: beyond so many first words, lines share a leaf.
    let names: Vec<String> = (0..400).map(|number| format!("{} has logged in", word(number * 977))).collect();
    let (texts, _) = mined(names.iter().map(String::as_str));
    assert!(texts.contains(&"<*> has logged in".to_owned()) && texts.len() <= WORDS_MAX + 1, "{texts:?}");
}

#[test]
fn in_whatever_order_lines_come_their_templates_are_the_same() {
    let mut lines: Vec<String> = (0..40).map(|number| format!("user {} logged in", word(number * 977))).collect();
    lines.extend((0..30).map(|number| format!("order {number} {}", if number % 2 == 0 { "done" } else { "failed" })));
    let there = mined(lines.iter().map(String::as_str)).0;
    lines.reverse();
    assert_eq!(mined(lines.iter().map(String::as_str)).0, there);
    assert_eq!(there, ["order <*> done", "order <*> failed", "user <*> logged in"]);
}

#[test]
fn severity_event_and_exception_tell_records_apart_that_say_the_same() {
    let (mut miner, mut line) = (Miner::default(), Line::default());
    line.read("request 5 failed");
    let of = |severity, event, exception| Identity { severity, event, exception };
    let identities = [
        INFO,
        of(LogSeverity::Error, "", ""),
        of(LogSeverity::Error, "checkout.failed", ""),
        of(LogSeverity::Error, "", "java.net.SocketTimeoutException"),
    ];
    for identity in identities.iter().chain(&identities) {
        miner.place(identity, &line, false, |_| {});
    }
    assert_eq!(miner.len(), identities.len());
}

#[test]
fn unique_lines_fold_what_is_used_least_and_what_is_used_stays() {
    let lines: Vec<String> = (0..20_000)
        .map(|number| match number % 50 {
            0 => "pool has no connection left".to_owned(),
            _ => format!("{} {} {}", word(number * 7_919), word(number * 104_729), word(number * 15_485_863)),
        })
        .collect();
    let (miner, folded) = miner(lines.iter().map(String::as_str));
    assert!(miner.len() <= TEMPLATES_MAX && folded > 1_000, "{} and {folded}", miner.len());
    assert!(miner.iter().any(|template| template.text() == "pool has no connection left"));
    assert!(miner.leaves.values().all(|leaf| !leaf.is_empty() && leaf.len() <= LEAF_MAX));
    assert_eq!(miner.words.values().sum::<usize>(), miner.leaves.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The assertion is in `miner`: each line fits the template that it is put to, also after others were merged into it.
    #[test]
    fn every_line_fits_its_template(
        lines in proptest::collection::vec("([abc]|a[1-3]|'x y'|[a-h]=[0-9]|\\PC){1,2}( [a-i]{1,2}){0,4}", 1..400),
    ) {
        let (miner, _) = miner(lines.iter().map(String::as_str));
        prop_assert!(miner.len() <= lines.len());
        let counted: u64 = miner.iter().map(|template| template.counts.kept()).sum();
        prop_assert!(counted <= lines.len() as u64);
        // What was put to a template once still fits one, unless all that did were folded.
        let mut line = Line::default();
        if miner.len() < TEMPLATES_MAX / 2 {
            for text in &lines {
                line.read(text);
                let fits = miner.iter().any(|template| template.fits(line.tokens()).is_some());
                prop_assert!(fits, "{:?} fits none", text);
            }
        }
    }
}
