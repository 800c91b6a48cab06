//! What an attempt's result does to a target.

use super::*;
use crate::config::TargetConfig;

fn state() -> (Config, State) {
    let entry =
        TargetConfig { target: crate::config::Url("tcp://db:1".to_owned()), ..TargetConfig::default() };
    let config = Config { targets: vec![entry], ..Config::default() };
    let targets = Targets::compile(&config).unwrap();
    let state = State::new(&config, &targets.list[0], &targets.list);
    (config, state)
}

fn no(class: &'static str, reason: &str) -> Verdict {
    Verdict::no(class, reason)
}

#[test]
fn pauses_grow_and_shrink_again_when_the_obstacle_changes() {
    let (config, mut state) = state();
    let start = Instant::now();
    let mut ceilings = Vec::new();
    for (class, reason, change) in [
        ("dns", "NXDOMAIN", Change::Obstacle),
        ("dns", "NXDOMAIN", Change::None),
        ("dns", "NODATA", Change::Words),
        ("dns", "NODATA", Change::None),
        ("dns", "NODATA", Change::None),
        ("dns", "NODATA", Change::None),
        // Progress: the name is there, the port is not.
        ("connect", "refused", Change::Obstacle),
        ("connect", "refused", Change::None),
    ] {
        assert_eq!(state.settle(no(class, reason), &config, start), change, "{class} {reason}");
        ceilings.push(state.backoff.ceiling().as_millis());
    }
    assert_eq!(ceilings, [500, 1000, 2000, 4000, 5000, 5000, 500, 1000]);
}

#[test]
fn an_attempt_in_five_minutes_every_few_seconds_and_no_more() {
    // jwilder/dockerize#83, #86: an endpoint is asked, not flooded.
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    let mut passed = Duration::ZERO;
    let mut attempts = 0;
    while passed < Duration::from_secs(300) {
        passed += backoff.next_pause();
        attempts += 1;
    }
    assert!((60..400).contains(&attempts), "{attempts}");
}

#[test]
fn a_check_that_wants_to_look_again_soon_may() {
    let (config, mut state) = state();
    let soon = NotYet {
        class: "stable",
        reason: "changed".to_owned(),
        definite: true,
        code: None,
        again: Some(Duration::from_secs(60)),
    };
    let _ = state.settle(Verdict::NotYet(soon), &config, Instant::now());
    let Phase::Waiting { next, .. } = state.phase else { panic!("{state:?}") };
    // But no longer than the longest pause.
    assert!(next <= Instant::now() + config.max_interval.get());
}

#[test]
fn refused_authentication_is_final_only_when_asked_for() {
    let (mut config, mut state) = state();
    let refused = || Verdict::auth("28P01");
    let _ = state.settle(refused(), &config, Instant::now());
    assert_eq!(state.standing(), Standing::Open);
    config.fail_fast = Some(FailFast::Auth);
    let _ = state.settle(refused(), &config, Instant::now());
    assert_eq!(state.standing(), Standing::Hopeless);
}

#[test]
fn an_attempt_cut_short_does_not_hide_an_answer() {
    let (config, mut state) = state();
    let silence = Verdict::unknown("connect", "no answer");
    assert!(!state.knows_better(&silence), "it is the first");
    let _ = state.settle(no("connect", "refused"), &config, Instant::now());
    assert!(state.knows_better(&silence));
    assert!(!state.knows_better(&no("connect", "refused")));
    assert!(!state.knows_better(&Verdict::ready("")));
}

#[test]
fn reasons_are_bounded() {
    assert_eq!(limited("ü".repeat(REASON_LIMIT)).chars().count(), REASON_LIMIT);
    let cut = limited("ü".repeat(1 << 20));
    assert_eq!(cut.chars().count(), REASON_LIMIT + 1);
    assert!(cut.ends_with('…'));
}
