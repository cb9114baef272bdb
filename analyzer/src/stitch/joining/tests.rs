//! Joins of traces seen from outside: traces drawn apart in, transactions as text out. One test for each rule, each
//! refusal and each bound.

use collector_table::{LogEntry, LogTable, LogTableBuilder, ResourceFields, SpanId, TraceId, ValueType};
use insta::assert_snapshot;

mod simulation;
mod unpropagated;

use crate::fixture::{self, Drawn, lines};
use crate::stitch::{Stitcher, StitcherLimits, assemble_with};
use crate::transaction::Transaction;

const SECOND_NS: i64 = 1_000_000_000;

fn limits(keys: &[&str]) -> StitcherLimits {
    StitcherLimits { join_keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..StitcherLimits::default() }
}

/// Draws the transactions of a text, joined also by the keys.
fn joined(keys: &[&str], text: &str) -> String {
    let tables = [fixture::table(&lines(text))];
    assemble_with(limits(keys), &tables).iter().map(draw).collect()
}

/// Draws a transaction: each span behind the number of its trace, then joins, refusals, and the critical path.
fn draw(transaction: &Transaction) -> String {
    let mut out = format!("{} by {} ms\n", name(transaction), transaction.duration_ns / 1_000_000);
    for (index, span) in transaction.spans.iter().enumerate() {
        let indent = "  ".repeat(usize::try_from(transaction.depth(index)).unwrap());
        let trace = transaction.trace_of(index).0[0];
        out.push_str(&format!("  {trace} {indent}{} {}\n", span.service(), span.operation()));
    }
    for join in &transaction.joins {
        let (from, to) = (&transaction.spans[join.from], &transaction.spans[join.to]);
        let by = join.key.as_deref().map(|key| format!(" {key}")).unwrap_or_default();
        let ends = format!("{} {} -> {} {}", from.service(), from.operation(), to.service(), to.operation());
        out.push_str(&format!("  {}{by} {}: {ends}\n", join.rule.as_str(), join.confidence));
    }
    for refused in &transaction.refused {
        let key = refused.key.as_deref().map(|key| format!(" {key}")).unwrap_or_default();
        out.push_str(&format!(
            "  refused {}{key}: {} {}\n",
            refused.rule.as_str(),
            refused.why.as_str(),
            refused.count
        ));
    }
    let mut at_ns = transaction.started_ns;
    let mut path: Vec<String> = Vec::new();
    for segment in &transaction.critical_path {
        assert_eq!(segment.start_ns, at_ns, "segments leave no gap and do not overlap");
        assert!(segment.end_ns > segment.start_ns);
        at_ns = segment.end_ns;
        let ms = (segment.end_ns - segment.start_ns) / 1_000_000;
        path.push(format!("{} {} {ms}", transaction.spans[segment.span].service(), segment.cause.as_str()));
    }
    assert_eq!(at_ns, transaction.started_ns + transaction.duration_ns);
    out.push_str(&format!("  path {}\n", path.join(", ")));
    out
}

fn name(transaction: &Transaction) -> String {
    format!("{}", transaction.id.0[0])
}

/// Draws which traces the transactions of a text have.
fn traces(keys: &[&str], text: &str) -> String {
    let tables = [fixture::table(&lines(text))];
    assemble_with(limits(keys), &tables).iter().map(|one| format!("{}\n", trace_list(one))).collect()
}

fn trace_list(transaction: &Transaction) -> String {
    let numbers: Vec<String> = transaction.traces.iter().map(|id| id.0[0].to_string()).collect();
    numbers.join("+")
}

#[test]
fn consumer_that_links_to_its_producer_is_joined_and_its_wait_is_on_the_path() {
    assert_snapshot!(joined(&[], "
        shop POST /order 0..40
          shop producer send 30..35 @sent

        mail consumer receive 100..160 link=@sent
          mail render 110..150
    "), @r"
    1 by 160 ms
      1 shop POST /order
      1   shop send
      2     mail receive
      2       mail render
      link 0.99: shop send -> mail receive
      path shop self 30, shop self 5, mail queue_wait 65, mail self 10, mail self 40, mail self 10
    ");
}

#[test]
fn producer_that_links_forward_is_the_cause_all_the_same() {
    assert_snapshot!(joined(&[], "
        shop POST /order 0..40
          shop producer send 30..35 link=@received

        mail consumer receive 100..160 @received
    "), @r"
    1 by 160 ms
      1 shop POST /order
      1   shop send
      2     mail receive
      link 0.99: shop send -> mail receive
      path shop self 30, shop self 5, mail queue_wait 65, mail self 60
    ");
    assert_snapshot!(joined(&[], "
        shop POST /order 0..40
          shop start job 30..35 link=@job

        job internal run 100..160 @job
    "), @r"
    1 by 160 ms
      1 shop POST /order
      1   shop start job
      2     job run
      link 0.99: shop start job -> job run
      path shop self 30, shop self 5, job queue_wait 65, job self 60
    ");
}

#[test]
fn links_to_oneself_and_to_traces_that_never_come_join_nothing() {
    assert_snapshot!(joined(&[], "
        shop POST /order 0..40 @own link=@own
          shop step 10..20 link=@nobody link=@own
    "), @r"
    1 by 40 ms
      1 shop POST /order
      1   shop step
      path shop self 10, shop self 10, shop self 20
    ");
}

#[test]
fn message_id_joins_by_old_and_new_names_alike() {
    assert_snapshot!(joined(&[], "
        shop POST /order 0..40
          shop producer orders 30..35 messaging.system=jms messaging.destination=orders messaging.message_id=m-1

        mail consumer orders 100..160 messaging.system=jms messaging.destination.name=orders messaging.message.id=m-1

        bill consumer orders 90..99 messaging.system=jms messaging.destination.name=bills messaging.message.id=m-1
    "), @r"
    1 by 160 ms
      1 shop POST /order
      1   shop orders
      2     mail orders
      message_id 0.98: shop orders -> mail orders
      path shop self 30, shop self 5, mail queue_wait 65, mail self 60
    3 by 9 ms
      3 bill orders
      path bill self 9
    ");
}

#[test]
fn partition_and_offset_join_by_old_and_new_names_alike() {
    assert_snapshot!(traces(&[], "
        a POST /one 0..40
          a producer t 30..35 messaging.system=kafka messaging.destination=t messaging.kafka.partition=3 messaging.kafka.message.offset=17

        a POST /two 0..40
          a producer t 30..35 messaging.system=kafka messaging.destination=t messaging.kafka.partition=3 messaging.kafka.message.offset=18

        b consumer t 50..60 messaging.system=kafka messaging.destination.name=t messaging.destination.partition.id=3 messaging.kafka.offset=18

        c consumer t 55..60 messaging.system=kafka messaging.destination.name=t messaging.destination.partition.id=3 messaging.kafka.offset=18

        b consumer t 51..60 messaging.system=kafka messaging.destination.name=t messaging.destination.partition.id=4 messaging.kafka.offset=18
    "), @r"
    1
    2+3+4
    5
    ");
}

#[test]
fn conversation_joins_request_and_reply() {
    assert_snapshot!(joined(&[], "
        shop POST /order 0..90
          shop producer ask 10..12 messaging.system=amqp messaging.destination.name=asks messaging.message.conversation_id=2f1c6a60-77aa-4f1e-8f44-2f2a6e0c9b11
          shop consumer answer 70..80 messaging.system=amqp messaging.destination.name=answers messaging.conversation_id=2f1c6a60-77aa-4f1e-8f44-2f2a6e0c9b11

        bank consumer ask 20..60 messaging.system=amqp messaging.destination.name=asks messaging.message.conversation_id=2f1c6a60-77aa-4f1e-8f44-2f2a6e0c9b11
          bank producer answer 50..55 messaging.system=amqp messaging.destination.name=answers messaging.message.conversation_id=2f1c6a60-77aa-4f1e-8f44-2f2a6e0c9b11
    "), @r"
    1 by 90 ms
      1 shop POST /order
      1   shop ask
      2     bank ask
      2       bank answer
      1   shop answer
      conversation_id 0.9: shop ask -> bank ask
      conversation_id 0.9: bank answer -> shop answer
      path shop self 10, shop self 2, bank queue_wait 8, bank self 30, bank self 5, shop queue_wait 15, shop self 10, shop self 10
    ");
}

#[test]
fn named_key_joins_what_nothing_else_joins() {
    assert_snapshot!(joined(&["order.id"], "
        shop POST /order 0..40
          shop store 10..20 order.id=o-17

        pay POST /hook 100..140 order.id=o-17
          pay book 110..120

        ship POST /label 200..240
          ship print 210..230 order.id=o-17

        shop POST /order 50..90 order.id=o-18
    "), @r"
    1 by 240 ms
      1 shop POST /order
      1   shop store
      2     pay POST /hook
      2       pay book
      3       ship POST /label
      3         ship print
      named_key order.id 0.9: shop store -> pay POST /hook
      named_key order.id 0.9: pay POST /hook -> ship POST /label
      path shop self 10, shop self 10, pay unexplained 80, pay self 10, pay self 10, pay self 20, ship unexplained 60, ship self 10, ship self 20, ship self 10
    4 by 40 ms
      4 shop POST /order
      path shop self 40
    ");
}

#[test]
fn batch_belongs_to_every_transaction_that_it_serves_and_does_not_join_them() {
    assert_snapshot!(joined(&[], "
        shop POST /order 0..40
          shop producer send 30..35 @one

        shop POST /order 10..50
          shop producer send 40..45 @two

        mail consumer batch 100..160 link=@one link=@two
          mail flush 110..150
    "), @r"
    1 by 160 ms
      1 shop POST /order
      1   shop send
      3     mail batch
      3       mail flush
      link 0.99: shop send -> mail batch
      path shop self 30, shop self 5, mail queue_wait 65, mail self 10, mail self 40, mail self 10
    2 by 150 ms
      2 shop POST /order
      2   shop send
      3     mail batch
      3       mail flush
      link 0.99: shop send -> mail batch
      path shop self 30, shop self 5, mail queue_wait 55, mail self 10, mail self 40, mail self 10
    ");
}

#[test]
fn message_of_a_batch_takes_only_its_own_share_of_it() {
    assert_snapshot!(joined(&[], "
        shop POST /order 0..40
          shop producer send 30..35 @one

        shop POST /order 10..50
          shop producer send 40..45 @two

        mail internal poll 5..500
          mail consumer process 100..160 link=@one
            mail producer sent 150..155 @mailed
          mail consumer process 160..200 link=@two

        log consumer mailed 170..180 link=@mailed
    "), @r"
    1 by 180 ms
      1 shop POST /order
      1   shop send
      3     mail process
      3       mail sent
      4         log mailed
      3 mail poll
      link 0.99: shop send -> mail process
      link 0.99: mail sent -> log mailed
      path shop self 30, shop self 5, mail queue_wait 65, mail self 50, mail self 5, log queue_wait 15, log self 10
    2 by 190 ms
      3 mail poll
      2 shop POST /order
      2   shop send
      3     mail process
      link 0.99: shop send -> mail process
      path shop self 30, shop self 5, mail queue_wait 115, mail self 40
    ");
}

#[test]
fn scatter_and_gather_of_one_origin_is_one_transaction() {
    assert_snapshot!(joined(&[], "
        travel GET /search 0..30
          travel producer ask 10..12 @ask

        air consumer ask 20..60 link=@ask
          air producer offer 50..55 @air

        rail consumer ask 25..90 link=@ask
          rail producer offer 80..85 @rail

        travel consumer offers 100..120 link=@air link=@rail
    "), @r"
    1 by 120 ms
      1 travel GET /search
      1   travel ask
      2     air ask
      2       air offer
      4         travel offers
      3     rail ask
      3       rail offer
      link 0.99: travel ask -> air ask
      link 0.99: air offer -> travel offers
      link 0.99: rail offer -> travel offers
      link 0.99: travel ask -> rail ask
      path travel self 10, travel self 2, air queue_wait 8, air self 30, air self 5, travel queue_wait 45, travel self 20
    ");
}

#[test]
fn value_that_too_many_traces_share_joins_none() {
    let mut text = String::new();
    for number in 0..70 {
        text.push_str(&format!("s{number} GET /{} {number}..{} tenant.name=t-1\n\n", number * 7, number + 5));
    }
    let tables = [fixture::table(&lines(&text))];
    let transactions = assemble_with(limits(&["tenant.name"]), &tables);
    assert_eq!(transactions.len(), 70);
    let refused: Vec<_> = transactions.iter().flat_map(|one| &one.refused).map(|one| one.why.as_str()).collect();
    assert_eq!(refused, vec!["fan_in"; 70]);
}

#[test]
fn key_under_which_work_begins_again_and_again_is_barred_although_it_was_named() {
    let text = "
        shop POST /order 0..40 user.name=u-1

        shop POST /order 100..140 user.name=u-1

        shop POST /order 0..40 user.name=u-2

        shop POST /order 200..240 user.name=u-2
    ";
    assert_snapshot!(traces(&["user.name"], text), @r"
    1
    3
    2
    4
    ");
    let mut stitcher = Stitcher::new(limits(&["user.name"]));
    stitcher.push(&fixture::table(&lines(text)), 0);
    stitcher.finish(0);
    let refused: Vec<_> = stitcher.refused().iter().map(|one| (one.rule.as_str(), one.why.as_str())).collect();
    assert_eq!(refused, [("named_key", "recurs")]);
}

#[test]
fn join_over_too_long_a_time_is_refused() {
    let text = "
        shop POST /order 0..40 order.id=o-17

        ship POST /label 4000000..4000040 order.id=o-17
    ";
    assert_snapshot!(joined(&["order.id"], text), @r"
    1 by 40 ms
      1 shop POST /order
      refused named_key order.id: time 1
      path shop self 40
    2 by 40 ms
      2 ship POST /label
      refused named_key order.id: time 1
      path ship self 40
    ");
}

#[test]
fn transaction_stops_growing_at_its_bound() {
    let mut text = String::from("shop producer send 0..9 @sent\n\n");
    for number in 0..9 {
        text.push_str(&format!("s{number} consumer get {}..{} link=@sent\n\n", number + 10, number + 15));
    }
    let few = StitcherLimits { traces_per_transaction_max: 4, ..StitcherLimits::default() };
    let transactions = assemble_with(few.clone(), &[fixture::table(&lines(&text))]);
    assert_eq!(transactions.iter().map(trace_list).collect::<Vec<_>>(), ["1+2+3+4"]);
    let mut stitcher = Stitcher::new(few);
    stitcher.push(&fixture::table(&lines(&text)), 0);
    stitcher.finish(0);
    let refused: Vec<_> = stitcher.refused().iter().map(|one| (one.rule.as_str(), one.why.as_str())).collect();
    assert_eq!(refused, [("link", "growth")]);
}

#[test]
fn attempts_of_one_call_are_one_hop_and_the_pauses_between_them_are_named() {
    let text = "
        shop POST /pay 0..400
          shop client POST 10..60 peer=bank:443 error
          shop client POST 110..160 peer=bank:443 error
          shop client POST 260..310 peer=bank:443
          shop client GET 320..330 peer=rates:80
          shop client GET 340..350 peer=rates:80
          shop client GET 350..360 peer=rates:80 http.request.resend_count=1
    ";
    assert_snapshot!(joined(&[], text), @r"
    1 by 400 ms
      1 shop POST /pay
      1   shop POST
      1   shop POST
      1   shop POST
      1   shop GET
      1   shop GET
      1   shop GET
      path shop self 10, shop uninstrumented_peer 50, shop retry_gap 50, shop uninstrumented_peer 50, shop retry_gap 100, shop uninstrumented_peer 50, shop self 10, shop uninstrumented_peer 10, shop self 10, shop uninstrumented_peer 10, shop uninstrumented_peer 10, shop self 40
    ");
    let transactions = assemble_with(limits(&[]), &[fixture::table(&lines(text))]);
    let hops: Vec<String> = transactions[0]
        .hops
        .iter()
        .map(|hop| {
            let spans = &transactions[0].spans;
            let gaps: Vec<i64> = hop.retry_gaps_ns(spans).map(|ns| ns / 1_000_000).collect();
            let peer = spans[hop.caller].site.peer.as_deref().unwrap_or_default().to_owned();
            format!("{peer} {} attempts {gaps:?} from {}", hop.attempts(), hop.first_start_ns(spans) / 1_000_000)
        })
        .collect();
    // A loop of calls that succeed is no retry; one that says that it is sent again is.
    assert_eq!(
        hops,
        [
            "bank:443 3 attempts [50, 100] from 10",
            "rates:80 1 attempts [] from 320",
            "rates:80 2 attempts [0] from 340"
        ]
    );
}

#[test]
fn clocks_that_differ_are_told_by_calls_and_corrected_unless_that_is_switched_off() {
    let mut text = String::new();
    for number in 0..6 {
        let at = number * 1_000;
        // The bank's clock is half a second ahead, and its work takes from 20 to 80.
        text.push_str(&format!("web POST /pay {at}..{}\n  web client POST {}..{}\n", at + 100, at + 10, at + 90));
        text.push_str(&format!("    bank POST /charge {}..{} on=b1\n", at + 520, at + 580));
        text.push_str(&format!("      bank book {}..{} on=b1\n\n", at + 530, at + 540));
    }
    let paths = |limits: StitcherLimits| -> String {
        let done = assemble_with(limits, &[fixture::table(&lines(&text))]);
        let last = &done[5];
        let offsets: Vec<i64> = last.skews.iter().map(|skew| skew.offset_ns / 1_000_000).collect();
        format!("{}corrected {} {offsets:?}\n", draw(last), last.is_skew_corrected)
    };
    assert_snapshot!(paths(StitcherLimits::default()), @r"
    6 by 100 ms
      6 web POST /pay
      6   web POST
      6     bank POST /charge
      6       bank book
      path web self 10, web network_gap 10, bank self 10, bank self 10, bank self 40, web network_gap 10, web self 10
    corrected true [500]
    ");
    assert_snapshot!(paths(StitcherLimits { corrects_skew: false, ..StitcherLimits::default() }), @r"
    6 by 580 ms
      6 web POST /pay
      6   web POST
      6     bank POST /charge
      6       bank book
      path web self 10, web network_gap 80, bank unexplained 430, bank self 10, bank self 10, bank self 40
    corrected false [500]
    ");
}

#[test]
fn each_of_several_groups_that_take_a_message_waits_from_when_it_was_sent() {
    let text = "
        shop POST /order 0..40
          shop producer send 30..35 messaging.message.id=0f8e3c5a6b7d4e21
            one consumer take 50..90 messaging.message.id=0f8e3c5a6b7d4e21

        two consumer take 300..380 messaging.message.id=0f8e3c5a6b7d4e21
    ";
    assert_snapshot!(joined(&[], text), @r"
    1 by 380 ms
      1 shop POST /order
      1   shop send
      1     one take
      2     two take
      message_id 0.98: shop send -> two take
      path shop self 30, shop self 5, two queue_wait 265, two self 80
    ");
    // What takes it again after a failure had to wait for that.
    let again = text.replace("one consumer take 50..90", "two consumer take 50..90 error");
    assert_snapshot!(joined(&[], &again), @r"
    1 by 380 ms
      1 shop POST /order
      1   shop send
      1     two take
      2     two take
      message_id 0.98: shop send -> two take
      path shop self 30, shop self 5, two queue_wait 15, two self 40, two queue_wait 210, two self 80
    ");
}

#[test]
fn one_call_is_enough_to_tell_clocks_apart_unless_there_may_be_another_reason() {
    let length = |callee: &str, words: &str| {
        let text =
            format!("web POST /pay 0..100\n  web client POST 10..90 {words}\n    bank POST /charge {callee} on=b1\n");
        assemble_with(StitcherLimits::default(), &[fixture::table(&lines(&text))])[0].duration_ns / 1_000_000
    };
    assert_eq!(length("60..120", ""), 100, "the bank's clock is ahead");
    assert_eq!(length("60..120", "error"), 120, "its caller may have given up");
    assert_eq!(length("400..460", ""), 460, "it may have been called later");
}

#[test]
fn last_of_several_like_siblings_is_a_straggler_from_when_the_others_are_done() {
    assert_snapshot!(joined(&[], "
        web GET /offers 0..200
          web client ask 10..50
            air offer 15..45
          web client ask 10..60
            rail offer 15..55
          web client ask 10..190
            bus offer 15..185
    "), @r"
    1 by 200 ms
      1 web GET /offers
      1   web ask
      1     bus offer
      1   web ask
      1     rail offer
      1   web ask
      1     air offer
      path web self 10, web network_gap 5, bus self 45, bus straggler 125, web network_gap 5, web self 10
    ");
    // Two are no crowd, and calls one after the other wait for nobody.
    assert_snapshot!(joined(&[], "
        web GET /offers 0..100
          web a 10..20
          web a 20..30
          web a 30..40
          web b 40..50
          web b 40..90
    "), @r"
    1 by 100 ms
      1 web GET /offers
      1   web a
      1   web a
      1   web a
      1   web b
      1   web b
      path web self 10, web self 10, web self 10, web self 10, web self 50, web self 10
    ");
}

#[test]
fn answer_by_message_is_waited_for_with_all_that_led_to_it() {
    assert_snapshot!(joined(&[], "
        flow POST /saga 0..200
          flow producer ask 10..12 @asked
          flow consumer answer 90..95 link=@answered
          flow work 100..190

        bank consumer ask 20..60 link=@asked
          bank producer answer 50..55 @answered
    "), @r"
    1 by 200 ms
      1 flow POST /saga
      1   flow ask
      2     bank ask
      2       bank answer
      1   flow answer
      1   flow work
      link 0.99: flow ask -> bank ask
      link 0.99: bank answer -> flow answer
      path flow self 10, flow self 2, bank queue_wait 8, bank self 30, bank self 5, flow queue_wait 35, flow self 5, flow self 5, flow self 90, flow self 10
    ");
}

#[test]
fn attempts_of_calls_made_at_the_same_time_are_told_apart_and_a_sequence_is_none() {
    let attempts = |text: &str| -> Vec<String> {
        let transactions = assemble_with(limits(&[]), &[fixture::table(&lines(text))]);
        let one = &transactions[0];
        let hops = one.hops.iter().map(|hop| (one.spans[hop.caller].site.peer.as_deref().unwrap(), hop.attempts()));
        hops.map(|(peer, attempts)| format!("{peer} {attempts}")).collect()
    };
    let together = "
        shop POST /pay 0..400
          shop client POST 10..60 peer=bank error
          shop client POST 10..80 peer=risk error
          shop client POST 110..160 peer=bank
          shop client POST 140..190 peer=risk error
          shop client POST 260..310 peer=risk
    ";
    assert_eq!(attempts(together), ["bank 2", "risk 3"]);
    let in_turn = "
        shop POST /pay 0..400
          shop client POST 10..60 peer=bank error
          shop client POST 70..80 peer=risk
          shop client POST 110..160 peer=bank
          shop client POST 170..190 peer=risk
    ";
    assert_eq!(attempts(in_turn), ["bank 1", "risk 1", "bank 1", "risk 1"]);
}

#[test]
fn sender_whose_clock_is_ahead_still_comes_before_what_a_key_joins_to_its_taker() {
    let text = "
        mail consumer placed 100..150 messaging.system=jms messaging.destination.name=placed messaging.message.id=m-1 order.id=o1

        pay POST /hook 200..240 order.id=o1

        shop POST /order 300..350 order.id=o1
          shop producer placed 320..325 messaging.system=jms messaging.destination.name=placed messaging.message.id=m-1
    ";
    assert_snapshot!(joined(&["order.id"], text), @r"
    3 by 50 ms
      3 shop POST /order
      3   shop placed
      1     mail placed
      2       pay POST /hook
      message_id 0.98: shop placed -> mail placed
      named_key order.id 0.9: mail placed -> pay POST /hook
      path shop self 20, shop self 5, shop self 25
    ");
}

#[test]
fn call_that_lost_its_context_is_a_hop_again_when_a_key_joins_it() {
    let text = "
        web POST /pay 0..100 order.id=o-17
          web client POST 10..90 peer=bank:443 order.id=o-17

        bank POST /charge 20..80 order.id=o-17
    ";
    assert_snapshot!(joined(&["order.id"], text), @r"
    1 by 100 ms
      1 web POST /pay
      1   web POST
      2     bank POST /charge
      named_key order.id 0.9: web POST -> bank POST /charge
      path web self 10, web network_gap 10, bank self 60, web network_gap 10, web self 10
    ");
}

/// Draws sales whose three traces share nothing but an id, and a customer who comes again.
fn sales(count: usize, customers: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let (at, id) = (number * 1_000, format!("sale.ref=r{}x", number * 7_919 + 100));
        let customer = format!("buyer.ref=c{}", number % customers + 100);
        text.push_str(&format!("shop POST /buy {at}..{} {id} {customer}\n\n", at + 50));
        text.push_str(&format!("pay POST /hook {}..{} {id} {customer}\n\n", at + 100, at + 150));
        text.push_str(&format!("ship POST /label {}..{} {id} {customer}\n\n", at + 200, at + 260));
    }
    text
}

#[test]
fn a_key_and_the_name_of_the_queue_tell_which_message_was_taken_unless_there_were_several() {
    let hops = |sent: usize| {
        let sends: String =
            (0..sent).map(|_| "  shop producer placed 30..35 messaging.destination.name=placed\n".to_owned()).collect();
        let text = format!(
            "
shop POST /order 0..50 order.id=o1
{sends}
mail consumer placed 200..220 messaging.destination.name=placed order.id=o1

bill consumer placed 300..320 messaging.destination.name=placed order.id=o1

stock consumer moved 400..420 messaging.destination.name=moved order.id=o1
"
        );
        let tables = [fixture::table(&lines(&text))];
        let whole = assemble_with(limits(&["order.id"]), &tables);
        let hops = whole.iter().flat_map(|one| one.hops.iter().map(move |hop| (one, hop)));
        let end =
            |one: &Transaction, callee: Option<usize>| callee.map(|callee| one.spans[callee].service().to_owned());
        hops.map(|(one, hop)| (end(one, hop.callee), hop.gap_ns.map(|ns| ns / 1_000_000))).collect::<Vec<_>>()
    };
    assert_eq!(hops(1), [(Some("mail".to_owned()), Some(165)), (Some("bill".to_owned()), Some(265))]);
    assert_eq!(hops(2), [(None, None), (None, None)]);
}

#[test]
fn key_is_discovered_by_how_its_values_behave_and_one_that_recurs_is_not() {
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    stitcher.push(&fixture::table(&lines(&sales(12, 4))), 0);
    let done = stitcher.finish(0);
    assert!(done.iter().all(|one| one.traces.len() == 3), "{:?}", done.iter().map(trace_list).collect::<Vec<_>>());
    assert_eq!(done.len(), 12);
    let told: Vec<String> = stitcher
        .proposals()
        .iter()
        .map(|one| {
            format!(
                "{} used {} values {} joining {} traces {} services {} recurring {}",
                one.key,
                one.is_used,
                one.values,
                one.joining_values,
                one.traces_per_shared_value,
                one.services,
                one.recurring_values
            )
        })
        .collect();
    assert_snapshot!(told.join("\n"), @r"
    sale.ref used true values 12 joining 12 traces 3 services 3 recurring 0
    buyer.ref used false values 4 joining 0 traces 9 services 3 recurring 4
    ");
}

/// Pushes the traces of a text, each at a second of its own, and gives all that is done until the end.
fn over_time(limits: StitcherLimits, text: &str, seconds: &[i64]) -> Vec<String> {
    let drawn = lines(text);
    let mut by_trace: Vec<Vec<Drawn<'_>>> = Vec::new();
    for one in drawn {
        match by_trace.last_mut() {
            Some(last) if last[0].is_of(&one) => last.push(one),
            _ => by_trace.push(vec![one]),
        }
    }
    let mut stitcher = Stitcher::new(limits);
    let mut told = Vec::new();
    let mut note = |now: i64, done: Vec<Transaction>| {
        for one in done {
            let by = one.superseded_by.map(|id| format!(" superseded by {}", id.0[0])).unwrap_or_default();
            told.push(format!("{now}s {} revision {}{by}", trace_list(&one), one.revision));
        }
    };
    let last = seconds.iter().max().copied().unwrap_or(0);
    for now in 0..=last + 30 {
        for (trace, _) in by_trace.iter().zip(seconds).filter(|(_, at)| **at == now) {
            note(now, stitcher.push(&fixture::table(trace), now * SECOND_NS));
        }
        note(now, stitcher.advance(now * SECOND_NS));
    }
    note(last + 30, stitcher.finish((last + 30) * SECOND_NS));
    told
}

const SENT: &str = "
    shop POST /order 0..40
      shop producer send 30..35 @sent

    mail consumer receive 100..160 link=@sent
";

#[test]
fn trace_that_comes_in_time_is_waited_for_and_one_that_comes_later_revises() {
    let usual = StitcherLimits::default;
    assert_eq!(over_time(usual(), SENT, &[0, 4]), ["10s 1+2 revision 1"]);
    assert_eq!(over_time(usual(), SENT, &[0, 30]), ["11s 1 revision 1", "36s 1+2 revision 2"]);
    assert_eq!(over_time(usual(), SENT, &[9, 0]), ["15s 1+2 revision 1"]);
}

#[test]
fn transaction_that_turns_out_to_be_part_of_another_is_taken_back() {
    let told = over_time(StitcherLimits::default(), SENT, &[40, 0]);
    assert_eq!(told, ["11s 2 revision 1", "46s 1+2 revision 1", "46s 2 revision 2 superseded by 1"]);
}

#[test]
fn what_was_let_go_of_is_never_given_out_in_part() {
    let few = StitcherLimits { joinable_spans_max: 2, ..StitcherLimits::default() };
    let text = format!("{SENT}\n        shop POST /order 50..90\n          shop producer send 60..65\n");
    let told = over_time(few, &text, &[0, 1, 20]);
    assert_eq!(told, ["7s 1+2 revision 1", "31s 3 revision 1"]);
}

/// Returns a table of log records, given as trace, span and attribute.
fn logs(records: &[(Option<u8>, u64, (&str, &str))]) -> LogTable {
    let ids = |trace: &Option<u8>, span: &u64| (trace.map(|number| TraceId([number; 16])), SpanId(span.to_be_bytes()));
    let records: Vec<(Option<TraceId>, SpanId, (&str, &str))> =
        records.iter().map(|(trace, span, said)| (ids(trace, span).0, ids(trace, span).1, *said)).collect();
    logs_of(&records)
}

fn logs_of<Text: AsRef<str>>(records: &[(Option<TraceId>, SpanId, (Text, Text))]) -> LogTable {
    let mut builder = LogTableBuilder::default();
    for (trace_id, span_id, (key, value)) in records {
        builder.attributes().push(key.as_ref(), value.as_ref(), ValueType::String);
        let resource = builder.resource(&ResourceFields {
            service_name: "shop",
            service_instance: None,
            service_version: None,
            attributes: "{}",
        });
        let scope = builder.scope(None);
        builder.append_entry(&LogEntry {
            time_ns: 20_000_000,
            observed_ns: 20_000_000,
            trace_id: *trace_id,
            span_id: Some(*span_id),
            flags: 0,
            severity_number: 9,
            severity_text: None,
            body: b"said",
            body_type: ValueType::String,
            event_name: None,
            resource,
            scope,
            dropped_attributes_count: 0,
        });
    }
    builder.finish()
}

#[test]
fn log_records_carry_keys_for_their_traces_and_belong_to_transactions_by_trace_and_by_key() {
    let text = "
        shop POST /order 0..40
          shop store 10..20

        pay POST /hook 100..140 order.id=o-17
    ";
    let mut stitcher = Stitcher::new(limits(&["order.id"]));
    stitcher.push(&fixture::table(&lines(text)), 0);
    // The shop says its order's id in a log record of its second span only.
    let said = logs(&[(Some(1), 3, ("order.id", "o-17"))]);
    stitcher.push_logs(&said, 0);
    let done = stitcher.finish(0);
    assert_eq!(done.iter().map(trace_list).collect::<Vec<_>>(), ["1+2"]);
    let (from, to) = (done[0].joins[0].from, done[0].joins[0].to);
    assert_eq!((done[0].spans[from].operation(), done[0].spans[to].operation()), ("store", "POST /hook"));
    let others = logs(&[
        (Some(2), 9, ("level", "low")),
        (None, 9, ("order.id", "o-17")),
        (None, 9, ("order.id", "o-18")),
        (Some(9), 9, ("order.id", "o-17")),
    ]);
    let belongs: Vec<Vec<u8>> =
        others.rows().map(|row| stitcher.transactions_of_log(&row).iter().map(|id| id.0[0]).collect()).collect();
    assert_eq!(belongs, [vec![1], vec![1], vec![], vec![1]]);
}

#[test]
fn log_record_that_comes_after_its_trace_was_given_out_joins_it_all_the_same() {
    let mut stitcher = Stitcher::new(limits(&["order.id"]));
    let text = "
        shop POST /order 0..40

        pay POST /hook 100..140 order.id=o-17
    ";
    stitcher.push(&fixture::table(&lines(text)), 0);
    assert_eq!(stitcher.advance(7 * SECOND_NS).len(), 2);
    stitcher.push_logs(&logs(&[(Some(1), 2, ("order.id", "o-17"))]), 8 * SECOND_NS);
    let done = stitcher.advance(9 * SECOND_NS);
    let told: Vec<_> = done.iter().map(|one| (trace_list(one), one.revision, one.close_reason.as_str())).collect();
    assert_eq!(told, [("1+2".to_owned(), 2, "settled"), ("2".to_owned(), 2, "superseded")]);
    // Of a trace whose spans never come, what logs said is forgotten in time.
    stitcher.push_logs(&logs(&[(Some(9), 2, ("order.id", "o-19"))]), 10 * SECOND_NS);
    assert_eq!(stitcher.stats().joins.traces, 3);
    stitcher.advance(400 * SECOND_NS);
    assert_eq!((stitcher.stats().joins.traces, stitcher.stats().joins.values), (0, 0));
}

#[test]
fn what_is_held_for_joins_is_bounded_by_spans_traces_values_and_time() {
    let orders = |from: usize, to: usize| {
        let text: String = (from..to).map(|n| format!("shop POST /order 0..9 order.id=o-{n}\n\n")).collect();
        let mut drawn = lines(&text);
        for (one, number) in drawn.iter_mut().zip(from..) {
            one.at(0, number as u64 + 1);
        }
        fixture::table(&drawn)
    };
    let held = |limits: StitcherLimits| {
        let mut stitcher = Stitcher::new(limits);
        for second in 0..40 {
            stitcher.push(&orders(second * 5, second * 5 + 5), second as i64 * SECOND_NS);
            stitcher.advance(second as i64 * SECOND_NS);
        }
        stitcher.advance(60 * SECOND_NS);
        stitcher.advance(62 * SECOND_NS);
        let joins = stitcher.stats().joins;
        (joins.kept_spans, joins.traces, joins.values, joins.let_go_early > 0, joins.facts_left_out > 0)
    };
    let usual = || limits(&["order.id"]);
    assert_eq!(held(usual()), (200, 200, 200, false, false));
    assert_eq!(held(StitcherLimits { joinable_spans_max: 10, ..usual() }), (10, 10, 10, true, false));
    assert_eq!(held(StitcherLimits { joinable_traces_max: 10, ..usual() }), (10, 10, 10, true, false));
    assert_eq!(held(StitcherLimits { join_ns: SECOND_NS, ..usual() }), (0, 0, 0, false, false));
    // Thirty-five orders wait for spans at any time; what is not indexed joins nothing.
    let (_, _, values, let_go, left_out) = held(StitcherLimits { join_values_max: 20, ..usual() });
    assert!(values <= 20 && let_go && left_out);
}

#[test]
fn facts_of_one_trace_and_keys_that_are_watched_are_bounded_and_counted() {
    let mut text = String::from("sink consumer batch 0..9");
    for number in 0..20 {
        text.push_str(&format!(" link=@sent{number} k{number}.ref=v{number}"));
    }
    for number in 0..20 {
        text.push_str(&format!("\n\ngate producer send 0..1 @sent{number}"));
    }
    let mut few = Stitcher::new(StitcherLimits { facts_per_trace_max: 5, ..StitcherLimits::default() });
    few.push(&fixture::table(&lines(&text)), 0);
    let done = few.finish(0);
    assert_eq!(done.iter().filter(|one| one.traces.len() == 2).count(), 5);
    assert!(few.stats().joins.facts_left_out > 0);

    let mut many = Stitcher::new(StitcherLimits::default());
    let keys: String = (0..300).map(|number| format!(" k{number}.ref=v{number}")).collect();
    many.push(&fixture::table(&lines(&format!("a b 0..1{keys}"))), 0);
    assert_eq!(many.stats().joins.keys_left_out, 300 - 256);
}

#[test]
fn trace_that_serves_too_many_transactions_is_not_joined_to_more() {
    let mut text = String::from("sink consumer batch 50..90");
    for number in 0..9 {
        text.push_str(&format!(" link=@sent{number}"));
    }
    for number in 0..9 {
        text.push_str(&format!("\n\ngate producer send {number}..{number} @sent{number}"));
    }
    let few = StitcherLimits { transactions_per_trace_max: 4, ..StitcherLimits::default() };
    let mut stitcher = Stitcher::new(few);
    stitcher.push(&fixture::table(&lines(&text)), 0);
    let joined = stitcher.finish(0).iter().filter(|one| one.traces.len() == 2).count();
    let refused: Vec<_> = stitcher.refused().iter().map(|one| (one.rule.as_str(), one.why.as_str())).collect();
    assert_eq!((joined, refused), (4, vec![("link", "fan_in")]));
}

#[test]
fn too_many_links_to_one_trace_join_none() {
    let mut text = String::from("boot start 0..9 @boot");
    for number in 0..6 {
        text.push_str(&format!("\n\ngate GET /{number} {}..{} link=@boot", number + 10, number + 20));
    }
    let few = StitcherLimits { links_to_trace_max: 5, ..StitcherLimits::default() };
    let mut stitcher = Stitcher::new(few);
    stitcher.push(&fixture::table(&lines(&text)), 0);
    assert!(stitcher.finish(0).iter().all(|one| one.traces.len() == 1));
    let refused: Vec<_> = stitcher.refused().iter().map(|one| (one.rule.as_str(), one.why.as_str())).collect();
    assert_eq!(refused, [("link", "fan_in")]);
}

#[test]
fn only_a_key_tells_of_what_neither_link_nor_message_tells() {
    // The producer's clock is three seconds ahead, so that by their key one consumer seems to cause the other.
    let tables = [fixture::table(&lines(
        "
        web POST /order 5000..5100
          web producer send 5050..5060 @sent messaging.message.id=m-0000000000000000-1 order.id=77-1

        mail consumer take 2061..2070 link=@sent order.id=77-1

        bill consumer take 2080..2090 messaging.message.id=m-0000000000000000-1 order.id=77-1

        desk GET /order 6000..6010 order.id=77-1
        ",
    ))];
    let transactions = assemble_with(limits(&["order.id"]), &tables);
    let whole = transactions.iter().find(|one| one.traces.len() == 4).expect("all four belong together");
    let is_by_key = |service: &str| {
        let index = whole.spans.iter().position(|span| span.service() == service).unwrap();
        whole.is_joined_by_key(index)
    };
    let by_key = |service: &str| {
        whole.joins.iter().any(|join| whole.spans[join.to].service() == service && !join.rule.is_of_messages())
    };
    assert!(by_key("bill") && !is_by_key("bill"), "{:?}", whole.joins);
    assert!(!is_by_key("mail") && is_by_key("desk") && !is_by_key("web"));
}
