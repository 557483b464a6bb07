//! What the drivers of PFs lack, and who moves their switch, stands in docs/architecture.md as the code has it.

use std::{collections::BTreeSet, fs, path::Path};

use godwit_migration::profile::{DRIVERS, Driver};

#[test]
fn the_page_shows_the_drivers_as_they_are() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/architecture.md");
    let page = fs::read_to_string(page).expect("docs/architecture.md");
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| driver of the PF |"));
    let shown: BTreeSet<String> = rows
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(str::to_owned)
        .collect();
    let row = |driver: &Driver| {
        let lacks = driver.lacks.iter().map(|setting| format!("`{}`", setting.name()));
        let lacks: Vec<String> = lacks.collect();
        let (name, lever) = (driver.name, driver.lever.name());
        let (tried, source) = (driver.tried, driver.source);
        format!(
            "| `{name}` | {} | {lever} | {tried} | {source} |",
            lacks.join(", ")
        )
    };
    let rows = DRIVERS.iter().map(row);
    assert_eq!(shown, rows.collect());
}
