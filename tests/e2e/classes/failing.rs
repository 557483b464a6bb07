//! Those in which daemons, links, hosts and NICs fail.

use godwit_rig::faults::Moment;

use super::Told;
use crate::{buttons, cuts, doubts, fabrics, hardware, moves, steering, troubles};

pub(super) const RESTARTS: &[Told] = &[
    (
        "the_destination_finishes_without_the_source",
        moves::without_the_source,
    ),
    ("a_daemon_started_again_goes_on", moves::daemon_started_again),
    (
        "the_destinations_daemon_dies_after_reserve",
        troubles::destination_dies,
    ),
    (
        "libvirtd_restarted_on_the_source_at_the_fail_over",
        troubles::libvirtd_at_the_fail_over,
    ),
    (
        "libvirtd_restarted_on_the_source_at_the_unplug",
        troubles::libvirtd_at_the_unplug,
    ),
    (
        "libvirtd_restarted_on_the_source_during_the_transfer",
        troubles::source_libvirtd_in_the_transfer,
    ),
    (
        "libvirtd_restarted_at_the_destination_during_the_transfer",
        troubles::destination_libvirtd_in_the_transfer,
    ),
    (
        "libvirtd_restarted_at_the_destination_at_the_plug",
        troubles::libvirtd_at_the_plug,
    ),
    (
        "libvirtd_killed_on_the_source_at_the_unplug",
        troubles::libvirtd_killed_at_the_unplug,
    ),
    (
        "libvirtd_killed_on_the_source_during_the_transfer",
        troubles::libvirtd_killed_in_the_transfer,
    ),
    (
        "libvirtd_killed_at_the_destination_at_the_plug",
        troubles::libvirtd_killed_at_the_plug,
    ),
];

pub(super) const UNPLUGS: &[Told] = &[
    ("a_guest_with_native_hotplug_moves", buttons::moves),
    (
        "a_guest_deaf_to_unplugs_stays_until_it_reboots",
        troubles::deaf_until_reboot,
    ),
    (
        "a_neighbour_reaches_a_guest_whose_unplug_is_pending",
        steering::neighbour,
    ),
    (
        "a_guest_that_hears_again_is_asked_again",
        troubles::deaf_for_a_while,
    ),
    (
        "a_guest_that_answers_to_nothing_keeps_its_path",
        troubles::answers_to_nothing,
    ),
    ("an_agent_that_lies_is_found_before_the_unplug", troubles::lies),
    (
        "faults_of_the_configuration_strike_as_they_are_told",
        troubles::on_purpose,
    ),
];

pub(super) const CUTS: &[Told] = &[
    ("the_link_is_cut_in_the_transfer", cuts::link_cut_in_the_transfer),
    (
        "the_destination_loses_its_power_before_the_transfer",
        cuts::destination_off_before_the_transfer,
    ),
    (
        "the_destination_loses_its_power_in_the_transfer",
        cuts::destination_off_in_the_transfer,
    ),
    ("the_destination_is_off_at_the_plug", cuts::off_before_the_plug),
    (
        "the_destination_loses_its_power_after_the_move",
        cuts::destination_off_after_the_move,
    ),
    (
        "the_source_loses_its_power_as_the_guest_arrives",
        cuts::source_off_on_arrival,
    ),
    ("the_link_is_cut_as_the_guest_arrives", cuts::link_cut_on_arrival),
    (
        "the_agent_is_killed_at_the_fail_over",
        cuts::agent_killed_at_the_fail_over,
    ),
    (
        "the_guest_is_shut_down_in_the_transfer",
        cuts::guest_shut_down_in_the_transfer,
    ),
    (
        "the_guests_emulator_is_killed_in_the_transfer",
        cuts::guest_killed_in_the_transfer,
    ),
    (
        "the_guest_reboots_in_the_transfer",
        cuts::guest_reboots_in_the_transfer,
    ),
    (
        "the_guest_is_paused_in_the_transfer",
        cuts::guest_paused_in_the_transfer,
    ),
];

pub(super) const DOUBTS: &[Told] = &[
    (
        "a_guest_that_nobody_could_locate_is_found_when_the_link_is_back",
        doubts::located_when_the_link_is_back,
    ),
    (
        "a_guest_that_nobody_can_locate_is_suspended_and_resolved",
        doubts::suspended_and_resolved,
    ),
    ("killed_before_the_resume_of_the_sources_copy", |stage| {
        doubts::killed_at_the_resume(stage, Moment::Before)
    }),
    ("killed_after_the_resume_of_the_sources_copy", |stage| {
        doubts::killed_at_the_resume(stage, Moment::After)
    }),
    ("killed_before_the_suspend_of_a_stale_copy", |stage| {
        doubts::killed_at_the_suspend(stage, Moment::Before)
    }),
    ("killed_after_the_suspend_of_a_stale_copy", |stage| {
        doubts::killed_at_the_suspend(stage, Moment::After)
    }),
    ("a_wrong_word_about_a_guest_is_found_out", doubts::wrong_word),
    (
        "a_guest_that_libvirt_runs_on_both_hosts_goes_on_at_one",
        doubts::split_by_libvirt,
    ),
];

pub(super) const HARDWARE: &[Told] = &[
    ("all_vfs_are_taken_from_the_pf", hardware::vfs_taken_from_the_pf),
    (
        "the_pf_is_down_as_the_guest_arrives",
        hardware::pf_down_on_arrival,
    ),
    ("the_pf_goes_down_and_comes_up_again", hardware::pf_off_and_on),
    (
        "the_pf_is_down_on_the_way_back",
        hardware::pf_down_on_the_way_back,
    ),
    (
        "the_destinations_vfs_are_gone_as_the_guest_arrives",
        hardware::vfs_gone_on_arrival,
    ),
    ("a_guest_gets_a_vf_of_another_pf", fabrics::another_pf),
    ("a_vf_of_the_hosts_own_driver_is_given", fabrics::own_driver),
    ("a_vf_of_libvirts_own_network_is_not", fabrics::libvirts_own),
    (
        "vfs_are_made_when_the_daemon_starts",
        hardware::vfs_made_at_the_start,
    ),
    (
        "a_vf_that_cannot_be_opened_is_quarantined",
        hardware::vf_that_cannot_be_opened,
    ),
    (
        "a_vf_that_only_the_emulator_has_is_named_and_comes_out",
        hardware::vf_that_only_the_emulator_has,
    ),
    ("the_disk_is_full_in_the_transfer", hardware::full_disk),
];
