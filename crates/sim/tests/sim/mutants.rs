//! Every planted bug is caught by the general checkers, within sixty seeds.

use billet_sim::{Options, mutants, run};

/// The seed at which a planted bug is first caught, and by which checks.
fn caught(mutant: &'static mutants::Mutant) -> Option<(u64, Vec<&'static str>)> {
    for seed in 1..=60 {
        let options = Options {
            mutant: Some(mutant),
            machines: 8,
            hours: 3,
            hasty: true,
            ..Options::of_seed(seed)
        };
        let outcome = run(&options).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        if !outcome.findings.is_empty() {
            let mut checks: Vec<_> = outcome.findings.iter().map(|f| f.what.check()).collect();
            checks.sort_unstable();
            checks.dedup();
            return Some((seed, checks));
        }
    }
    None
}

macro_rules! mutants {
    ($($test:ident $name:literal;)*) => {
        $(#[test]
        fn $test() {
            let mutant = mutants::named($name).expect("there is a mutant of this name");
            let caught = caught(mutant);
            assert!(
                caught.is_some(),
                "{}: {}: no check caught it in sixty seeds", mutant.name, mutant.story
            );
        })*

        #[test]
        fn each_has_its_test() {
            let tested = [$($name),*];
            for mutant in mutants::ALL {
                assert!(tested.contains(&mutant.name), "{} has no test", mutant.name);
            }
        }
    };
}

mutants! {
    no_settle "no-settle";
    no_settle_at_handover "no-settle-at-handover";
    power_again_unseen "power-again-unseen";
    uncertain_is_done "uncertain-is-done";
    unmarked_grant "unmarked-grant";
    blind_verify "blind-verify";
    no_erase "no-erase";
    early_release "early-release";
    effect_of_the_next "effect-of-the-next";
    forgotten_request "forgotten-request";
    medium_stays "medium-stays";
    installer_stays "installer-stays";
    installer_cut_off "installer-cut-off";
    installer_for_ever "installer-for-ever";
    medium_out_too_early "medium-out-too-early";
    medium_while_on "medium-while-on";
    active_unheard "active-unheard";
    eager_enrolment "eager-enrolment";
    off_record "off-record";
    no_deadline "no-deadline";
    for_ever "for-ever";
    stale_reading "stale-reading";
    no_power_break "no-power-break";
    sleepy "sleepy";
    wipes_kept_drives "wipes-kept-drives";
    marks_kept_arrays "marks-kept-arrays";
    no_arrays "no-arrays";
    rescue_that_wipes "rescue-that-wipes";
    measure_that_wipes "measure-that-wipes";
    no_way_back "no-way-back";
    forgets_the_writing "forgets-the-writing";
    password_unkept "password-unkept";
    password_forgotten "password-forgotten";
    restores_on_paper "restores-on-paper";
    private_image "private-image";
    warm_medium_stays "warm-medium-stays";
    no_fallback "no-fallback";
    always_yes "always-yes";
}
