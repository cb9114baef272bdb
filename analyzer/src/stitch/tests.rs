//! Stitching seen from outside: drawn traces in, transactions as text out.

use insta::assert_snapshot;
use proptest::prelude::{any, proptest};

use super::{Stitcher, StitcherLimits, assemble};
use crate::fixture::{self, lines};
use crate::transaction::{CloseReason, Transaction};

const SECOND_NS: i64 = 1_000_000_000;

/// Draws the critical path of every transaction in the text.
fn path(text: &str) -> String {
    let tables = [fixture::table(&lines(text))];
    let mut out = String::new();
    for transaction in assemble(&tables) {
        assert_sums_to_duration(&transaction);
        for segment in &transaction.critical_path {
            let owner = &transaction.spans[segment.span];
            let ms = (segment.end_ns - segment.start_ns) / 1_000_000;
            out.push_str(&format!("{} {} {} {ms}\n", owner.service(), owner.operation(), segment.cause.as_str()));
        }
    }
    out
}

/// Draws the tree, self times and notes of every transaction in the text.
fn tree(text: &str) -> String {
    let tables = [fixture::table(&lines(text))];
    assemble(&tables).iter().map(draw).collect()
}

fn draw(transaction: &Transaction) -> String {
    let mut out = String::new();
    for (index, span) in transaction.spans.iter().enumerate() {
        let indent = "  ".repeat(usize::try_from(transaction.depth(index)).unwrap());
        let (total, own) = (span.duration_ns() / 1_000_000, transaction.self_ns(index) / 1_000_000);
        out.push_str(&format!("{indent}{} {} {total} self {own}\n", span.service(), span.operation()));
    }
    out.push_str(&format!(
        "{} missing {} duplicates {} skew {}\n",
        if transaction.is_complete { "complete" } else { "incomplete" },
        transaction.missing_parents,
        transaction.duplicates,
        transaction.clock_skew_ns / 1_000_000,
    ));
    out
}

fn assert_sums_to_duration(transaction: &Transaction) {
    let mut at = transaction.started_ns;
    for segment in &transaction.critical_path {
        assert_eq!(segment.start_ns, at, "segments leave no gap and do not overlap");
        assert!(segment.end_ns > segment.start_ns);
        at = segment.end_ns;
    }
    assert_eq!(at, transaction.started_ns + transaction.duration_ns);
}

#[test]
fn slow_callee_owns_the_time_that_its_callers_wait() {
    assert_snapshot!(path("
        web GET /shop 0..100
          web client GET 10..90
            cart GET /cart 15..85
              cart work 20..80
    "), @r"
    web GET /shop self 10
    web GET network_gap 5
    cart GET /cart self 5
    cart work self 60
    cart GET /cart self 5
    web GET network_gap 5
    web GET /shop self 10
    ");
}

#[test]
fn of_parallel_calls_only_the_last_to_end_is_waited_for() {
    assert_snapshot!(path("
        web GET / 0..100
          a quick 10..30
          b slow 10..95
          c quick 12..40
    "), @r"
    web GET / self 10
    b slow self 85
    web GET / self 5
    ");
}

#[test]
fn call_that_runs_on_while_the_next_begins_owns_the_time_until_then() {
    assert_snapshot!(path("
        web GET / 0..100
          a first 0..90
          b second 80..100
    "), @r"
    a first self 80
    b second self 20
    ");
    assert_snapshot!(path("
        web GET / 0..100
          a early 0..50
          b beside 10..99
          c late 60..100
    "), @r"
    a early self 50
    b beside self 10
    c late self 40
    ");
}

#[test]
fn call_that_is_cut_with_the_one_around_it_is_what_that_one_waited_for() {
    // The clock of `b` is a little ahead, so that all that ends last in it seems to end after its caller did.
    assert_snapshot!(path("
        a x 0..120
          a client y 0..100
            b y 1..103
              b client long 10..102 peer=p
              b client short 10..30 peer=q
    "), @r"
    a y network_gap 1
    b y self 9
    b long uninstrumented_peer 90
    a x self 20
    ");
}

#[test]
fn back_to_back_calls_with_equal_stamps_all_count() {
    assert_snapshot!(path("
        web GET / 0..90
          a first 0..30
          b second 30..60
          c third 60..90
    "), @r"
    a first self 30
    b second self 30
    c third self 30
    ");
}

#[test]
fn silent_peer_is_named_as_the_cause() {
    assert_snapshot!(path("
        pay POST /charge 0..50
          pay client POST 5..45 peer=bank:443
    "), @r"
    pay POST /charge self 5
    pay POST uninstrumented_peer 40
    pay POST /charge self 5
    ");
}

#[test]
fn work_on_a_message_goes_on_after_the_caller_was_answered() {
    assert_snapshot!(path("
        shop POST /order 0..40
          shop producer send 30..35
            mail consumer receive 100..160
              mail client SMTP 110..150 peer=smtp
    "), @r"
    shop POST /order self 30
    shop send self 5
    mail receive queue_wait 65
    mail receive self 10
    mail SMTP uninstrumented_peer 40
    mail receive self 10
    ");
}

#[test]
fn of_two_children_the_one_that_the_end_waited_for_owns_the_time() {
    assert_snapshot!(path("
        web GET / 0..50
          web audit 10..48
          web refresh 20..120
    "), @r"
    web GET / self 10
    web audit self 10
    web refresh self 100
    ");
}

#[test]
fn callee_on_another_clock_is_cut_at_its_callers_end() {
    assert_snapshot!(path("
        web GET / 0..100
          web client GET 10..50
            cart GET /cart 8..53
          b next 51..90
    "), @r"
    web GET / self 10
    cart GET /cart self 40
    web GET / self 1
    b next self 39
    web GET / self 10
    ");
}

#[test]
fn time_that_no_span_covers_is_unexplained() {
    assert_snapshot!(path("
        web GET / 0..100 lost
          a one 0..20
          b two 60..100
    "), @r"
    a one self 20
    a one unexplained 40
    b two self 40
    ");
}

#[test]
fn self_time_leaves_out_what_children_cover_once() {
    assert_snapshot!(tree("
        web GET / 0..100
          a x 10..50
          b y 40..60
          c z 90..130
    "), @r"
    web GET / 100 self 40
      a x 40 self 40
      b y 20 self 20
      c z 40 self 40
    complete missing 0 duplicates 0 skew 0
    ");
}

#[test]
fn missing_parents_are_counted_and_their_children_kept() {
    assert_snapshot!(tree("
        web GET / 0..100
          web client GET 10..90 lost
            cart GET /cart 20..80
    "), @r"
    web GET / 100 self 100
    cart GET /cart 60 self 60
    incomplete missing 1 duplicates 0 skew 0
    ");
}

#[test]
fn callee_that_seems_to_start_before_its_call_is_noted_as_skew() {
    assert_snapshot!(tree("
        web GET / 0..100
          web client GET 30..90
            cart GET /cart 5..65
    "), @r"
    web GET / 100 self 40
      web GET 60 self 0
        cart GET /cart 60 self 60
    complete missing 0 duplicates 0 skew 25
    ");
}

#[test]
fn cycles_and_self_parents_become_roots() {
    let mut drawn = lines(
        "
        a one 0..10
          b two 1..9
            c three 2..8
    ",
    );
    let last = drawn[2].id;
    drawn[0].parent = Some(last);
    let mut alone = lines("d four 20..30");
    alone[0].parent = Some(alone[0].id);
    let transactions = assemble(&[fixture::table(&drawn)]);
    assert_snapshot!(draw(&transactions[0]), @r"
    a one 10 self 2
      b two 8 self 2
        c three 6 self 6
    incomplete missing 0 duplicates 0 skew 0
    ");
    let transactions = assemble(&[fixture::table(&alone)]);
    assert_snapshot!(draw(&transactions[0]), @r"
    d four 10 self 10
    incomplete missing 0 duplicates 0 skew 0
    ");
}

#[test]
fn names_with_ids_in_them_share_an_operation() {
    assert_snapshot!(tree("
        web GET /orders/12345/items 0..10
          web load 6f9619ff-8b86-d011-b42d-00c04fc964ff 1..2
          web v2 stays 3..4
    "), @r"
    web GET /orders/{id}/items 10 self 8
      web load {id} 1 self 1
      web v2 stays 1 self 1
    complete missing 0 duplicates 0 skew 0
    ");
}

#[test]
fn attributes_complete_names_and_tell_peers_by_the_first_key_that_is_known() {
    let sites = |text: &str| -> String {
        let transactions = assemble(&[fixture::table(&lines(text))]);
        let spans = transactions.iter().flat_map(|transaction| transaction.spans.iter());
        let line = |span: &crate::span::Span| {
            let site = &span.site;
            format!("{} to {} {}\n", site.operation, site.peer.as_deref().unwrap_or("-"), site.is_database)
        };
        spans.map(line).collect()
    };
    assert_snapshot!(sites("
        web GET 0..100 http.route=/cart/{id} server.address=ignored
          web client HTTP POST 1..2 url.template=/pay http.route=/charge server.port=443 net.peer.name=bank
          web client GET 3..4 url.full=https://user@shop.example:8080/a?b http.url=http://other/
          web client SELECT 5..6 db.system=redis db.system.name=postgresql server.address=db net.peer.name=old
          web client ask 7..8 rpc.system=grpc peer.service=oracle server.port=1
          web producer send 9..10 messaging.system=kafka
          web client stays 11..12 url.full=nonsense
    "), @r"
    GET /cart/{id} to - false
    POST /charge to bank:443 false
    GET to shop.example:8080 false
    SELECT to db true
    ask to oracle false
    send to kafka false
    stays to - false
    ");
}

#[test]
fn names_and_sites_beyond_their_bounds_are_folded_and_freed_when_unused() {
    use super::site::{Manner, Sites, Toward};
    use crate::span::Repeat;
    use collector_table::SpanKind::Server;

    let mut sites = Sites::new(4, 2);
    let web = sites.process("web", None, None);
    let site = |sites: &mut Sites, name: &str| {
        let name = sites.name(name);
        let (is_database, has_error, is_resend, repeat) = (false, false, false, Repeat::Unknown);
        let manner = Manner { kind: Server, is_database, has_error, is_resend, repeat };
        sites.site(&web, &name, &Toward::default(), manner)
    };
    let held: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| site(&mut sites, name)).collect();
    let names: Vec<&str> = held.iter().map(|site| &*site.operation).collect();
    // The third site is beyond the bound of sites, the fourth name beyond that of names.
    assert_eq!(names, ["a", "b", "(others)", "(others)"]);
    assert_eq!(&*held[2].service, "(others)");
    assert!(std::sync::Arc::ptr_eq(&held[2], &held[3]), "one site stands for all beyond the bound");
    assert!(sites.folded() >= 2);

    let number = held[0].number;
    drop(held);
    sites.free_unused();
    let folded = sites.folded();
    assert_eq!(["c", "d"].map(|name| site(&mut sites, name).operation.to_string()), ["c", "d"]);
    assert_eq!(sites.folded(), folded);
    assert!(site(&mut sites, "c").number > number, "a number is never given twice");
}

#[test]
fn queues_that_live_for_one_answer_do_not_crowd_out_other_names() {
    let mut sites = super::site::Sites::new(20_000, 10);
    let queues: Vec<_> = (0..6_000).map(|number| sites.target(&format!("reply-{number}x"))).collect();
    let others = sites.name("(others)");
    assert_eq!(queues.iter().filter(|name| name.number() == others.number()).count(), 1_000);
    assert_eq!(sites.target("reply-7x").number(), queues[7].number(), "what is known stays known");
    assert_ne!(sites.name("shop").number(), others.number());
    drop(queues);
    sites.free_unused();
    assert_ne!(sites.target("reply-5999x").number(), sites.name("(others)").number(), "room comes back");
}

#[test]
fn deep_chains_do_not_recurse() {
    let depth = 50_000;
    let mut drawn = lines("a root 0..100000");
    for level in 1..depth {
        let mut next = lines("a step 0..100000");
        next[0].id = level + 1;
        next[0].parent = Some(level);
        drawn.append(&mut next);
    }
    drawn[0].id = 1;
    let transactions = assemble(&[fixture::table(&drawn)]);
    assert_eq!(transactions.len(), 1);
    let last = transactions[0].spans.len() - 1;
    assert_eq!(u64::from(transactions[0].depth(last)), depth - 1);
    assert_sums_to_duration(&transactions[0]);
}

const CHECKOUT: &str = "
    web POST /checkout 0..400
      web client POST 10..390
        pay POST /charge 20..380
          pay client POST 30..370 peer=bank:443
      web producer send 391..395
        mail consumer receive 900..990
";

/// Pushes spans one by one, a millisecond of arrival apart, in the order given.
fn push_in_order(stitcher: &mut Stitcher, text: &str, order: &[usize]) -> Vec<Transaction> {
    let drawn = lines(text);
    let mut done = Vec::new();
    for (&index, at_ms) in order.iter().zip(0i64..) {
        let one = std::slice::from_ref(&drawn[index % drawn.len()]);
        done.extend(stitcher.push(&fixture::table(one), at_ms * 1_000_000));
    }
    done
}

proptest! {
    #[test]
    fn order_and_copies_of_spans_change_nothing(seed in any::<[u8; 24]>()) {
        let mut order: Vec<usize> = (0..6).collect();
        for (place, byte) in seed.iter().enumerate() {
            order.swap(place % 6, usize::from(*byte) % 6);
        }
        let copies: Vec<usize> = seed.iter().take(5).map(|byte| usize::from(*byte)).collect();
        let duplicates = copies.len();
        order.extend(copies);
        let mut stitcher = Stitcher::new(StitcherLimits::default());
        let early = push_in_order(&mut stitcher, CHECKOUT, &order);
        assert!(early.is_empty());
        let done = stitcher.advance(7 * SECOND_NS);
        assert_eq!(done.len(), 1);
        assert_eq!(done[0].duplicates, duplicates);
        let whole = &assemble(&[fixture::table(&lines(CHECKOUT))])[0];
        assert_eq!(draw(&done[0]).replace(&format!("duplicates {duplicates}"), "duplicates 0"), draw(whole));
        assert_eq!(done[0].critical_path, whole.critical_path);
        assert_eq!(done[0].path_id, whole.path_id);
    }

    #[test]
    fn critical_path_sums_to_the_duration_whatever_the_spans(
        spans in proptest::collection::vec((0u64..20, 0i64..200, 0i64..100, 0u8..5), 1..40),
    ) {
        let mut drawn = lines("");
        for ((parent, start, length, kind), id) in spans.iter().zip(1u64..) {
            let kind = ["server", "client", "internal", "producer", "consumer"][usize::from(*kind)];
            let text = format!("s{} {kind} op {start}..{}", parent % 3, start + length);
            let text: &'static str = Box::leak(text.into_boxed_str());
            let mut one = lines(text);
            one[0].id = id;
            one[0].parent = (*parent > 0).then_some(*parent);
            drawn.append(&mut one);
        }
        for transaction in assemble(&[fixture::table(&drawn)]) {
            assert_sums_to_duration(&transaction);
            assert_eq!(transaction.spans.len(), spans.len());
        }
    }
}

/// A span of the reference: trace, id, parent, and start and end in milliseconds.
type Plain = (u64, u64, Option<u64>, i64, i64);

/// Says of a trace what the definitions say, one millisecond and one span at a time.
fn described(spans: &[Plain]) -> String {
    let is_here = |id: u64| spans.iter().any(|span| span.1 == id);
    let missing = spans.iter().filter(|span| span.2.is_some_and(|parent| !is_here(parent))).count();
    let roots = spans.iter().filter(|span| span.2.is_none_or(|parent| !is_here(parent))).count();
    let own_ms = |span: &Plain| {
        let covers = |child: &&Plain, ms| child.2 == Some(span.1) && (child.3..child.4).contains(&ms);
        (span.3..span.4).filter(|ms| !spans.iter().any(|child| covers(&child, *ms))).count()
    };
    let mut lines: Vec<String> = spans
        .iter()
        .map(|span| format!("{} below {:?} self {}", span.1, span.2.filter(|&id| is_here(id)), own_ms(span)))
        .collect();
    lines.sort();
    let start = spans.iter().map(|span| span.3).min().unwrap();
    let end = spans.iter().map(|span| span.4).max().unwrap();
    format!("{start}..{end} whole {} missing {missing}\n{}", roots == 1 && missing == 0, lines.join("\n"))
}

/// Says the same of a transaction.
fn described_as_stitched(transaction: &Transaction) -> String {
    let number = |id: collector_table::SpanId| u64::from_be_bytes(id.0);
    let line = |(index, span): (usize, &crate::span::Span)| {
        let parent = transaction.parent(index).map(|parent| number(transaction.spans[parent].span_id));
        format!("{} below {parent:?} self {}", number(span.span_id), transaction.self_ns(index) / 1_000_000)
    };
    let mut lines: Vec<String> = transaction.spans.iter().enumerate().map(line).collect();
    lines.sort();
    let start = transaction.started_ns / 1_000_000;
    let end = start + transaction.duration_ns / 1_000_000;
    let (whole, missing) = (transaction.is_complete, transaction.missing_parents);
    format!("{start}..{end} whole {whole} missing {missing}\n{}", lines.join("\n"))
}

proptest! {
    #[test]
    fn whatever_the_order_and_pauses_of_arrival_the_last_revision_is_what_the_definitions_say(
        drawn in proptest::collection::vec((0u64..4, 0u64..8, 0i64..60, 0i64..40), 1..40),
        order in proptest::collection::vec((any::<proptest::sample::Index>(), 0i64..9), 0..60),
    ) {
        // A parent is one of the trace's spans before it, or one that never comes.
        let plain: Vec<Plain> = drawn.iter().zip(1u64..).map(|((trace, parent, start, length), id)| {
            let earlier = drawn.iter().zip(1u64..id).filter(|(other, _)| other.0 == *trace).map(|(_, id)| id);
            let parent = earlier.chain([1_000 + id]).nth(usize::try_from(*parent).unwrap());
            (*trace, id, parent, *start, start + length)
        }).collect();
        let table = |span: &Plain| {
            let mut one = lines("a op 0..0");
            (one[0].id, one[0].parent) = (span.1, span.2);
            one[0].at(0, span.0 + 1);
            one[0].over(span.3, span.4);
            fixture::table(&one)
        };
        let mut stitcher = Stitcher::new(StitcherLimits::default());
        let mut last: std::collections::BTreeMap<u128, Transaction> = std::collections::BTreeMap::new();
        let mut now_ns = 0;
        // Some spans come in any order and more than once, with pauses in which transactions settle; then all come.
        let some = order.iter().map(|(index, pause)| (index.get(&plain), *pause));
        for (span, pause) in some.chain(plain.iter().map(|span| (span, 0))) {
            now_ns += pause * SECOND_NS;
            let mut done = stitcher.advance(now_ns);
            done.extend(stitcher.push(&table(span), now_ns));
            last.extend(done.into_iter().map(|one| (u128::from_be_bytes(one.id.0), one)));
        }
        last.extend(stitcher.finish(now_ns).into_iter().map(|one| (u128::from_be_bytes(one.id.0), one)));
        for (id, transaction) in &last {
            let of_trace: Vec<Plain> = plain.iter().filter(|span| u128::from(span.0 + 1) == *id).copied().collect();
            // Beyond eight revisions, what comes is a part of its own.
            if transaction.revision > 0 {
                assert_eq!(described_as_stitched(transaction), described(&of_trace));
                assert_sums_to_duration(transaction);
            }
        }
        let traces: std::collections::BTreeSet<u64> = plain.iter().map(|span| span.0).collect();
        assert_eq!(last.len(), traces.len());
    }
}

#[test]
fn transaction_settles_when_nothing_is_missing_and_waits_longer_when_something_is() {
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    let whole = "web GET / 0..10\n  web step 1..5";
    let part = "web GET / 0..10 lost\n  web step 1..5";
    push_in_order(&mut stitcher, whole, &[0, 1]);
    let done = stitcher.advance(7 * SECOND_NS);
    assert_eq!(done.iter().map(|one| one.close_reason).collect::<Vec<_>>(), [CloseReason::Settled]);
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    push_in_order(&mut stitcher, part, &[0]);
    assert!(stitcher.advance(7 * SECOND_NS).is_empty());
    let done = stitcher.advance(21 * SECOND_NS);
    assert_eq!(done.iter().map(|one| one.close_reason).collect::<Vec<_>>(), [CloseReason::Idle]);
}

#[test]
fn late_span_reopens_its_transaction_and_one_too_late_never_replaces_it() {
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    let text = "web GET / 0..10\n  web step 1..5";
    push_in_order(&mut stitcher, text, &[0]);
    let first = stitcher.advance(7 * SECOND_NS);
    assert_eq!((first[0].revision, first[0].spans.len()), (1, 1));
    let late = fixture::table(&lines(text)[1..]);
    stitcher.push(&late, 10 * SECOND_NS);
    let second = stitcher.advance(17 * SECOND_NS);
    assert_eq!((second[0].revision, second[0].spans.len()), (2, 2));
    // A minute later the whole is forgotten; what comes then is marked as less than it.
    stitcher.advance(100 * SECOND_NS);
    stitcher.push(&late, 101 * SECOND_NS);
    let part = stitcher.advance(130 * SECOND_NS);
    assert_eq!((part[0].revision, part[0].spans.len()), (0, 1));
    assert_eq!((stitcher.stats().reopened, stitcher.stats().too_late), (1, 1));
}

#[test]
fn trace_that_trickles_on_is_not_written_again_for_ever() {
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    let one = fixture::table(&lines("web GET / 0..10"));
    let mut revisions = Vec::new();
    for second in 0..100 {
        stitcher.push(&one, second * 10 * SECOND_NS);
        revisions.extend(stitcher.advance((second * 10 + 7) * SECOND_NS).iter().map(|done| done.revision));
    }
    assert_eq!(revisions[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(revisions[8..].iter().all(|revision| *revision == 0), "{revisions:?}");
}

#[test]
fn every_bound_closes_with_its_own_reason_and_is_counted() {
    let text = "a one 0..1\n  a two 0..1\n  a three 0..1";
    let mut small = Stitcher::new(StitcherLimits { spans_per_transaction_max: 2, ..StitcherLimits::default() });
    let done = push_in_order(&mut small, text, &[0, 1]);
    assert_eq!((done[0].close_reason, small.stats().at_span_limit), (CloseReason::SpanLimit, 1));

    let mut few = Stitcher::new(StitcherLimits { open_transactions_max: 1, ..StitcherLimits::default() });
    let two = "a one 0..1\n\nb two 0..1";
    let done = push_in_order(&mut few, two, &[0, 1]);
    assert_eq!((done[0].close_reason, few.stats().early, few.open_count()), (CloseReason::Early, 1, 1));
    assert_eq!(done[0].root_span().service(), "a", "the one that was quiet for longest goes");

    let mut tight = Stitcher::new(StitcherLimits { open_spans_max: 2, ..StitcherLimits::default() });
    let done = push_in_order(&mut tight, "a one 0..1 lost\n  a two 0..1\n  a three 0..1\n  a four 0..1", &[0, 1, 2]);
    assert_eq!((done[0].close_reason, tight.stats().evicted, tight.open_count()), (CloseReason::Evicted, 1, 0));

    let mut endless = Stitcher::new(StitcherLimits::default());
    for second in 0..700 {
        endless.push(&fixture::table(&lines(text)[..1]), second * SECOND_NS);
        let done = endless.advance(second * SECOND_NS);
        if let [closed] = &done[..] {
            assert_eq!(closed.close_reason, CloseReason::AgeLimit);
            assert_eq!(second, 600);
        }
    }
    assert_eq!(endless.stats().at_age_limit, 1);
}

#[test]
fn for_room_whole_transactions_go_before_incomplete_ones_however_long_these_waited() {
    let mut stitcher = Stitcher::new(StitcherLimits { open_spans_max: 3, ..StitcherLimits::default() });
    let text = "
        a root 0..9 lost
          a part 1..2

        b whole 0..1

        c whole 0..1

        d whole 0..1

        e root 0..9 lost
          e part 1..2
    ";
    let done = push_in_order(&mut stitcher, text, &[0, 1, 2, 3, 4, 4]);
    let closed = |done: &[Transaction]| -> Vec<(String, CloseReason)> {
        done.iter().map(|one| (one.root_span().service().to_owned(), one.close_reason)).collect()
    };
    let early = |service: &str| (service.to_owned(), CloseReason::Early);
    assert_eq!(closed(&done), [early("b"), early("c"), early("d")]);
    // None is whole any more; a was quiet for longest.
    let done = push_in_order(&mut stitcher, text, &[4]);
    assert_eq!(closed(&done), [("a".to_owned(), CloseReason::Evicted)]);
    assert_eq!((stitcher.stats().early, stitcher.stats().evicted), (3, 1));
}

#[test]
fn closed_spans_are_kept_only_up_to_their_bound() {
    let mut stitcher = Stitcher::new(StitcherLimits { closed_spans_max: 1, ..StitcherLimits::default() });
    push_in_order(&mut stitcher, "a one 0..1\n\nb two 0..1", &[0, 1]);
    assert_eq!(stitcher.advance(7 * SECOND_NS).len(), 2);
    stitcher.push(&fixture::table(&lines("a one 0..1")), 8 * SECOND_NS);
    assert_eq!((stitcher.stats().reopened, stitcher.stats().too_late), (0, 1));
}
