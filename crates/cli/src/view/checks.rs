//! What `godwit vfs check` prints for people.

use godwit_api::v1::{VfCheck, VfUsage};

use super::hosts;
use super::table::{Fit, Table};

/// Each VF, whose it is, and what is not as it should be, with what to type.
pub(crate) fn checks(checks: &[VfCheck], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("VF", Fit::Keep),
        ("PF", Fit::Keep),
        ("USE", Fit::Wrap),
        ("FOUND", Fit::Wrap),
    ]);
    let known = || {
        checks
            .iter()
            .filter_map(|check| Some((check, check.vf.as_ref()?)))
    };
    let ids = hosts::holders(known().map(|(_, vf)| vf));
    for (check, vf) in known() {
        table.row([
            vf.address.as_str().into(),
            vf.pf.as_str().into(),
            hosts::usage(vf, &ids).into(),
            found(check, vf.usage()).into(),
        ]);
    }
    table.lines(width)
}

fn found(check: &VfCheck, usage: VfUsage) -> Vec<String> {
    let all = check.wrong.join(", ");
    match (check.wrong.is_empty(), check.not_checked.is_empty(), usage) {
        (false, _, VfUsage::Guest) => vec![all, format!("fix: {}", check.fix)],
        (false, ..) => vec![format!("carries {all}"), format!("fix: {}", check.fix)],
        (true, false, _) => vec![format!("not checked: {}", check.not_checked)],
        (true, true, VfUsage::Free | VfUsage::Quarantined) => vec!["clean".into()],
        (true, true, VfUsage::Guest) => vec!["as it should be".into()],
        (true, true, _) => vec!["-".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;

    #[test]
    fn whose_each_vf_is_and_what_is_wrong() {
        insta::assert_snapshot!(checks(&sample::checks(), None).join("\n"), @"
        VF            PF        USE                            FOUND
        0000:01:10.0  enp1s0f0  guest web-1                    MAC 52:54:00:00:00:99 instead of 52:54:00:00:00:01
                                                               fix: godwit standby web-1 --wait; godwit accelerate web-1 --wait
        0000:01:10.2  enp1s0f0  held by migration 0198c0de     -
        0000:01:10.4  enp1s0f0  free                           carries MAC 52:54:00:00:00:01, trust on
                                                               fix: `godwit vfs check 0000:01:10.4 --clean`
        0000:01:10.6  enp1s0f0  unusable: its driver is igbvf  not checked: enp1s0f0 does not tell what it is set to
        0000:01:10.4  enp1s0f0  free                           clean
        ");
        insta::assert_snapshot!(checks(&sample::checks(), Some(80)).join("\n"), @"
        VF            PF        USE                          FOUND
        0000:01:10.0  enp1s0f0  guest web-1                  MAC 52:54:00:00:00:99
                                                             instead of
                                                             52:54:00:00:00:01
                                                             fix: godwit standby web-1
                                                             --wait; godwit accelerate
                                                             web-1 --wait
        0000:01:10.2  enp1s0f0  held by migration 0198c0de   -
        0000:01:10.4  enp1s0f0  free                         carries MAC
                                                             52:54:00:00:00:01, trust on
                                                             fix: `godwit vfs check
                                                             0000:01:10.4 --clean`
        0000:01:10.6  enp1s0f0  unusable: its driver is      not checked: enp1s0f0 does
                                igbvf                        not tell what it is set to
        0000:01:10.4  enp1s0f0  free                         clean
        ");
    }
}
