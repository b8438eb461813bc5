use super::*;

fn map(name: &str) -> MapName {
    MapName::new(name).unwrap()
}

/// A report; more cores, greater score. None is fit with fewer than four.
fn report(account: u32, cores: u32, maps: &[&str]) -> HostReport {
    let metrics = HostMetrics {
        cpu_mhz: 3_000,
        cpu_cores: cores,
        free_ram_mb: 8_192,
        network_speed_mbps: 100,
        latency_ms: 30,
        disconnects_per_hour: 0,
        vps_connection_active: true,
    };
    let maps = maps.iter().map(|name| map(name)).collect();
    HostReport { account: AccountId(account), metrics, maps }
}

/// One report at a second.
fn takes(
    hosting: &mut Hosting,
    (account, cores, maps, second): (u32, u32, &[&str], u64),
) -> (Vec<Assignment>, Vec<Change>) {
    let (mut assignments, changes) = hosting.report(&[report(account, cores, maps)], at(second));
    (assignments.remove(0), changes)
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_ms(second * 1_000)
}

/// The parts on map `m`, as `account:part`.
fn parts(hosting: &Hosting) -> String {
    let parts = hosting.of(&map("m")).assignments;
    let parts: Vec<_> = parts.iter().map(|a| format!("{}:{:?}@{}", a.account, a.part, a.epoch)).collect();
    parts.join(" ")
}

fn told(changes: &[Change]) -> String {
    let word = |change: &Change| {
        let Assignment { account, part, epoch, .. } = &change.assignment;
        format!("{}{account}:{part:?}@{epoch}", if change.began { '+' } else { '-' })
    };
    changes.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn parts_are_given_by_score_and_kept() {
    let mut hosting = Hosting::default();
    for account in 1..=6 {
        takes(&mut hosting, (account, 3 + account, &["m"], 1));
    }
    // The first to offer it runs it; a better one that comes later does not push it out.
    assert_eq!(parts(&hosting), "1:Primary@1 2:Backup@1 3:Backup@1 4:Assistant@1 5:Assistant@1");
    assert_eq!(hosting.fence(&map("m"), AccountId(2)), Some(1));
    assert_eq!(hosting.fence(&map("m"), AccountId(1)), None);
    assert_eq!(hosting.fence(&map("another"), AccountId(2)), None);
}

#[test]
fn a_silent_primary_is_followed_by_the_best_of_the_others() {
    let mut hosting = Hosting::default();
    takes(&mut hosting, (1, 4, &["m"], 0));
    takes(&mut hosting, (2, 5, &["m"], 20));
    takes(&mut hosting, (3, 6, &["m"], 20));
    assert_eq!(hosting.sweep(at(44)), (0, Vec::new()), "two checks missed are not three");
    let (dropped, changes) = hosting.sweep(at(45));
    assert_eq!((dropped, &*told(&changes)), (1, "+3:Primary@2 -3:Backup@1 -1:Primary@1"));
    assert_eq!(parts(&hosting), "3:Primary@2 2:Backup@1");
    assert_eq!(hosting.fence(&map("m"), AccountId(1)), Some(2));
    // It comes back as one among others.
    let (played, changes) = takes(&mut hosting, (1, 4, &["m"], 50));
    assert_eq!((played[0].part, &*told(&changes)), (Part::Backup, "+1:Backup@2"));
}

#[test]
fn a_map_that_was_given_back_and_has_no_host_stays_closed() {
    let mut hosting = Hosting::default();
    takes(&mut hosting, (1, 4, &["m"], 0));
    let (played, changes) = takes(&mut hosting, (1, 4, &[], 1));
    assert_eq!((played.len(), &*told(&changes)), (0, "-1:Primary@1"));
    assert_eq!(hosting.fence(&map("m"), AccountId(1)), Some(1));
    let (played, _) = takes(&mut hosting, (1, 4, &["m"], 2));
    assert_eq!((played[0].part, played[0].epoch), (Part::Primary, 2));
}

#[test]
fn an_unfit_primary_hands_over_only_to_somebody() {
    let mut hosting = Hosting::default();
    takes(&mut hosting, (1, 4, &["m"], 0));
    let (played, changes) = takes(&mut hosting, (1, 3, &["m"], 1));
    assert_eq!((played[0].part, &*told(&changes)), (Part::Primary, ""), "nobody else could run it");
    let (_, changes) = takes(&mut hosting, (2, 4, &["m"], 2));
    assert_eq!(told(&changes), "+2:Primary@2 -1:Primary@1", "acquired before it was released");
    assert_eq!(parts(&hosting), "2:Primary@2");
}

#[test]
fn an_unfit_host_is_given_nothing() {
    let mut hosting = Hosting::default();
    let (played, changes) = takes(&mut hosting, (1, 3, &["m"], 0));
    assert!(played.is_empty() && changes.is_empty());
    assert_eq!(hosting.of(&map("m")), MapHosts::default());
}

#[test]
fn a_late_report_does_not_turn_the_clock_back() {
    let mut hosting = Hosting::default();
    takes(&mut hosting, (1, 4, &["m"], 100));
    takes(&mut hosting, (1, 4, &["m"], 1));
    assert_eq!(hosting.sweep(at(144)).0, 0);
    assert_eq!(hosting.sweep(at(145)).0, 1);
}

#[test]
fn reports_that_come_together_are_settled_once_and_the_later_of_two_counts() {
    let mut hosting = Hosting::default();
    let reports =
        [report(1, 3, &["m"]), report(2, 5, &["m", "n"]), report(1, 6, &["m"]), report(3, 4, &["n"])];
    let (parts, changes) = hosting.report(&reports, at(1));
    assert_eq!(told(&changes), "+1:Primary@1 +2:Backup@1 +2:Primary@1 +3:Backup@1");
    let word = |a: &Assignment| format!("{}{:?}", a.map, a.part);
    let parts: Vec<_> = parts.iter().map(|p| p.iter().map(word).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(parts, ["mPrimary", "mBackup nPrimary", "mPrimary", "nBackup"]);
    let (_, changes) = hosting.report(&[report(2, 50, &["m", "n"])], at(2));
    assert_eq!(told(&changes), "", "a score decides only when a part is free");
}
