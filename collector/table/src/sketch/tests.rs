use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{BUCKETS_MAX, RELATIVE_ERROR, Sketch, SketchSum};

fn of(values: &[i64]) -> Sketch {
    let mut sketch = Sketch::default();
    values.iter().for_each(|value| sketch.insert(*value));
    sketch
}

fn bytes(sketch: &Sketch) -> Vec<u8> {
    let mut out = Vec::new();
    sketch.encode(&mut out);
    out
}

proptest! {
    #[test]
    fn quantiles_are_within_the_error(mut values in vec(prop_oneof![1_i64..2_000_000_000, -5_i64..5, 1_i64..100], 1..300), q in 0.0..1.0) {
        let sketch = of(&values);
        values.sort_unstable();
        let exact = values[(q * (values.len() - 1) as f64) as usize].max(0) as f64;
        let answer = sketch.quantile(q).unwrap();
        prop_assert!((answer - exact).abs() <= exact * RELATIVE_ERROR * 1.0001, "{} for {}", answer, exact);
    }

    #[test]
    fn merging_is_as_if_one_had_seen_all(left in vec(any::<i64>(), 0..50), right in vec(any::<i64>(), 0..50)) {
        let mut merged = of(&left);
        merged.merge(&of(&right));
        prop_assert_eq!(merged, of(&[left, right].concat()));
    }

    #[test]
    fn a_sum_is_as_if_one_had_seen_all(parts in vec(vec(any::<i64>(), 0..50), 0..6), q in 0.0..1.0) {
        let mut sum = SketchSum::default();
        for part in &parts {
            sum.add(&bytes(&of(part))).unwrap();
        }
        let all = of(&parts.concat());
        prop_assert_eq!(sum.quantile(q), all.quantile(q));
        prop_assert_eq!(sum.sketch(), all);
    }

    #[test]
    fn bytes_read_back(values in vec(any::<i64>(), 0..50)) {
        prop_assert_eq!(Sketch::decode(&bytes(&of(&values))), Ok(of(&values)));
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_sketch(bytes in vec(any::<u8>(), 0..40)) {
        if let Ok(sketch) = Sketch::decode(&bytes) {
            sketch.quantile(0.5);
            prop_assert!(sketch.buckets.len() <= BUCKETS_MAX);
        }
        prop_assert_eq!(SketchSum::default().add(&bytes).is_ok(), Sketch::decode(&bytes).is_ok());
    }
}

#[test]
fn buckets_are_bounded_and_the_highest_values_stay_exact() {
    let mut sketch = Sketch::default();
    let mut value = i64::MAX;
    let mut count = 0;
    while value > 0 {
        sketch.insert(value);
        count += 1;
        value -= value / 128 + 1;
    }
    assert_eq!((sketch.buckets.len(), sketch.count()), (BUCKETS_MAX, count));
    let top = sketch.quantile(1.0).unwrap();
    assert!((top / i64::MAX as f64 - 1.0).abs() < 0.011, "{top}");
}

#[test]
fn merged_buckets_are_bounded_as_well() {
    // One value for every second bucket, so that two of them together have more than there may be.
    let every_second = |from: i32| {
        let values: Vec<i64> = (from..2_000).step_by(2).map(|index| 1.0202_f64.powi(index) as i64).collect();
        of(&values)
    };
    let (even, odd) = (every_second(400), every_second(401));
    let mut merged = even.clone();
    merged.merge(&odd);
    assert_eq!(merged.buckets.len(), BUCKETS_MAX);
    assert!(merged.buckets.is_sorted_by(|one, next| one.0 < next.0));
    assert_eq!(merged.count(), even.count() + odd.count());
    let mut sum = SketchSum::default();
    sum.add(&bytes(&odd)).unwrap();
    sum.add(&bytes(&even)).unwrap();
    assert_eq!(sum.sketch(), merged);
}

#[test]
fn a_few_values_take_a_few_bytes_and_none_have_no_quantile() {
    assert_eq!(bytes(&Sketch::default()), [0]);
    assert_eq!(Sketch::default().quantile(0.5), None);
    assert!(bytes(&of(&[1_000_000, 1_001_000, 250_000_000])).len() <= 8);
    assert_eq!(of(&[-7, 0]).quantile(1.0), Some(0.0));
}
