//! The stories, by class.

mod failing;

use anyhow::Result;
use godwit_rig::slice;

use self::failing::{CUTS, DOUBTS, HARDWARE, RESTARTS, UNPLUGS};
use crate::stage::Stage;
use crate::{
    arrivals, calls, doctor, fabrics, hooks, measures, modular, moves, networks, obstacles, operators,
    options, pairs, pauses, policies, refusals, stays, steering, teamed,
};

/// A story's name, and what tells it.
pub(crate) type Told = (&'static str, fn(&Stage) -> Result<()>);

/// By class, in an order in which most begin where the one before ended. A quick run tells one of each class at
/// least, but for what takes long to make. The class `kills` is made of a table.
pub(crate) const CLASSES: [(&str, &[Told]); 14] = [
    ("refusals", REFUSALS),
    ("doctor", DOCTOR),
    ("moves", MOVES),
    ("pauses", PAUSES),
    ("arrivals", ARRIVALS),
    ("hooks", HOOKS),
    (slice::LONG_MADE, LONG_MADE),
    ("teamed", TEAMED),
    ("policies", POLICIES),
    ("restarts", RESTARTS),
    ("unplugs", UNPLUGS),
    ("cuts", CUTS),
    ("doubts", DOUBTS),
    ("hardware", HARDWARE),
];

const REFUSALS: &[Told] = &[
    ("usage_is_explained", refusals::usage),
    ("an_unknown_guest_is_refused", refusals::unknown_guest),
    ("a_guest_that_is_shut_off_is_refused", refusals::shut_off_guest),
    ("a_guest_without_a_vf_is_refused", refusals::guest_without_vf),
    (
        "a_guest_without_a_standby_is_refused",
        refusals::guest_without_standby,
    ),
    (
        "a_guest_without_an_agent_is_refused",
        refusals::guest_without_agent,
    ),
    ("an_unknown_destination_is_refused", refusals::unknown_destination),
    (
        "the_source_itself_is_refused_as_destination",
        refusals::source_as_destination,
    ),
    (
        "an_unreachable_destination_is_refused",
        refusals::unreachable_destination,
    ),
    ("a_destination_without_a_free_vf_is_refused", refusals::no_free_vf),
    (
        "a_second_migration_of_the_same_guest_is_refused",
        refusals::second_migration,
    ),
    (
        "options_that_cannot_be_are_refused_with_the_vf_in_its_place",
        options::wrong,
    ),
    (
        "a_plan_between_two_hosts_that_are_alike_finds_nothing_in_the_way",
        options::nothing_in_the_way,
    ),
    (
        "a_plan_names_what_the_other_host_has_otherwise",
        options::something_in_the_way,
    ),
    ("a_plan_names_a_firewall", obstacles::firewall),
    (
        "a_destination_without_the_standbys_bridge_is_refused",
        obstacles::no_bridge,
    ),
    (
        "a_plan_says_how_many_huge_pages_are_missing",
        obstacles::no_huge_pages,
    ),
    (
        "the_network_of_the_destination_is_proved_or_missed",
        networks::proved,
    ),
];

const DOCTOR: &[Told] = &[
    ("the_doctor_finds_a_healthy_host_healthy", doctor::healthy),
    ("the_doctor_names_a_pf_that_is_off", doctor::pf_off),
    ("the_doctor_names_a_pf_without_vfs", doctor::no_vfs),
    ("the_doctor_names_a_host_without_vfio", doctor::no_vfio),
    ("the_doctor_names_an_iommu_that_is_off", doctor::no_iommu),
    ("the_doctor_names_what_was_left_on_a_vf", doctor::left_on_a_vf),
    ("the_doctor_names_a_peer_that_is_away", doctor::peer_away),
    ("the_doctor_names_an_agent_that_is_silent", doctor::agent_silent),
    (
        "an_operator_asks_another_host_by_a_context",
        operators::asks_another_host,
    ),
    ("a_support_bundle_has_no_key", operators::bundle_without_keys),
];

const MOVES: &[Told] = &[
    (
        "cancel_during_the_transfer_puts_the_guest_back_on_its_vf",
        moves::cancelled,
    ),
    ("there_and_back_again", moves::there_and_back),
    ("a_plan_names_the_vf_that_the_guest_gets", moves::planned),
    ("the_stored_domain_is_right_after_the_move", moves::stored_domain),
    ("a_guest_that_rebooted_moves_too", moves::after_a_reboot),
    (
        "a_guests_vf_is_set_as_its_last_one_was",
        moves::set_as_the_last_one,
    ),
    ("two_guests_pass_each_other", moves::two_guests),
    ("a_guest_in_a_vlan_is_reached_there_alone", fabrics::in_a_vlan),
    ("a_guest_of_two_pairs_moves_there_and_back", pairs::there_and_back),
    ("a_guest_with_a_mac_for_each_port_moves", pairs::two_macs),
    (
        "one_vf_of_two_that_will_not_plug_leaves_the_other_pair_on_its_own",
        pairs::one_of_two_does_not_plug,
    ),
    (
        "there_and_back_with_the_bridge_on_the_pf",
        steering::bridge_on_the_pf,
    ),
    ("a_guest_whose_standby_is_a_macvtap_moves", steering::macvtap),
    ("a_guest_whose_standby_is_on_open_vswitch_moves", steering::ovs),
    (
        "a_standby_that_carries_small_frames_alone_gets_no_traffic",
        steering::small_frames_alone,
    ),
    ("a_copy_to_the_pf_lasts_as_long_as_the_standby", steering::copies),
    (
        "what_a_move_has_lost_is_told_as_the_meter_sees_it",
        measures::agrees_with_the_meter,
    ),
    (
        "a_move_that_is_not_to_be_measured_is_not",
        measures::off_for_one_move,
    ),
    ("memory_goes_compressed_and_by_tls", options::compressed_by_tls),
    (
        "a_disk_of_its_host_goes_with_the_guest",
        options::disk_of_its_host,
    ),
    (
        "what_a_transfer_is_to_be_like_is_what_qemu_has",
        options::are_qemus,
    ),
    (
        "a_guest_that_moves_in_post_copy_arrives_whole",
        options::post_copy,
    ),
];

const PAUSES: &[Told] = &[
    (
        "what_arrives_in_the_pause_is_not_lost",
        measures::nothing_is_lost_in_the_pause,
    ),
    (
        "what_arrives_by_ipv6_is_not_lost",
        measures::nothing_is_lost_by_ipv6,
    ),
    (
        "what_arrives_in_a_pause_of_seconds_is_not_lost",
        pauses::of_seconds,
    ),
    (
        "the_daemons_lose_each_other_while_they_keep_frames",
        pauses::daemons_parted,
    ),
    (
        "the_destinations_daemon_dies_while_it_keeps_frames",
        pauses::daemon_killed,
    ),
    (
        "a_guest_whose_copy_never_runs_finds_its_frames_where_it_was",
        pauses::never_resumes,
    ),
    ("a_cancel_in_the_pause_loses_nothing", pauses::cancelled),
    ("more_frames_than_there_is_room_for_are_counted", pauses::no_room),
    (
        "nothing_is_lost_of_a_guest_without_a_pair",
        pauses::of_a_guest_without_a_pair,
    ),
    (
        "nothing_is_lost_where_vhost_carries_the_standby",
        pauses::with_vhost,
    ),
    (
        "nothing_is_lost_of_a_vlan_of_the_guests_own",
        pauses::with_a_vlan_of_its_own,
    ),
    (
        "nothing_is_lost_of_a_nic_of_no_pair",
        pauses::of_a_nic_without_a_pair,
    ),
    (
        "a_move_that_would_lose_its_pauses_frames_is_refused_if_it_may_not",
        pauses::refused_where_none_are_kept,
    ),
];

const ARRIVALS: &[Told] = &[
    ("a_vf_taken_by_hand_comes_back", arrivals::vf_taken_by_hand),
    ("a_cold_start_gets_its_vf", arrivals::cold_start),
    (
        "a_guest_moved_by_plain_virsh_is_accelerated",
        arrivals::by_plain_virsh,
    ),
    (
        "a_guest_on_standby_moved_by_plain_virsh_is_accelerated",
        arrivals::from_standby,
    ),
    (
        "a_guest_moved_by_plain_virsh_alone_stays_stored_where_it_was",
        arrivals::stored_where_it_was,
    ),
    (
        "a_guest_that_its_client_moves_is_accelerated",
        arrivals::by_the_client,
    ),
    (
        "a_guest_moved_through_a_tunnel_is_accelerated",
        arrivals::through_a_tunnel,
    ),
    (
        "a_guest_moved_while_it_is_off_gets_its_vf_at_its_start",
        arrivals::while_it_is_off,
    ),
    (
        "a_guest_restored_from_a_save_gets_its_vf",
        arrivals::restored_from_a_save,
    ),
    (
        "a_guest_that_starts_with_its_host_gets_its_vf",
        arrivals::started_with_its_host,
    ),
    (
        "a_daemon_started_in_a_plain_migration_does_no_harm",
        arrivals::daemon_started_in_a_plain_migration,
    ),
    (
        "a_vf_that_will_not_plug_is_tried_again",
        arrivals::vf_that_will_not_plug,
    ),
];

const HOOKS: &[Told] = &[
    ("the_hook_is_installed_and_checked", hooks::installed),
    (
        "a_guest_on_standby_moved_by_plain_virsh_passes_the_hook_and_is_accelerated",
        hooks::from_standby,
    ),
    (
        "a_teamed_guest_moved_by_plain_virsh_gets_a_vf_of_the_other_host",
        hooks::teamed,
    ),
    (
        "the_stored_domain_of_a_teamed_guest_has_a_vf_of_its_host",
        hooks::teamed_and_stored,
    ),
    (
        "a_managed_guest_of_libvirts_own_pair_moved_by_plain_virsh_is_whole",
        hooks::teamed_and_managed,
    ),
    (
        "an_unrelated_guest_comes_while_the_daemon_is_down",
        hooks::unrelated,
    ),
    (
        "a_daemon_that_hangs_is_not_waited_for_by_libvirts_hook",
        hooks::daemon_hangs,
    ),
    (
        "the_hook_is_killed_half_way_and_the_next_move_succeeds",
        hooks::killed_half_way,
    ),
    (
        "libvirtd_restarted_with_the_hook_kills_no_guest",
        hooks::libvirtd_restarted,
    ),
    ("the_hook_is_called_for_ten_guests_at_once", calls::many_at_once),
    (
        "the_hook_has_much_xml_a_later_version_and_callers_that_go_away",
        calls::hard_to_serve,
    ),
    (
        "unrelated_guests_move_with_the_hook_as_without",
        calls::unrelated_moves,
    ),
];

/// What they need takes minutes to make: a quick run leaves them out.
const LONG_MADE: &[Told] = &[(
    "a_guest_moves_where_libvirt_is_a_daemon_for_each_driver",
    modular::there_and_back,
)];

const TEAMED: &[Told] = &[
    (
        "a_guest_of_libvirts_own_pair_moves_there_and_back",
        teamed::there_and_back,
    ),
    (
        "a_guest_of_libvirts_own_pair_goes_to_its_standby_and_back",
        teamed::standby_and_back,
    ),
    (
        "a_guest_of_libvirts_own_pair_moves_without_an_agent",
        teamed::without_an_agent,
    ),
    (
        "a_guest_of_libvirts_own_pair_that_is_deaf_stays_on_its_vf",
        teamed::deaf,
    ),
];

const POLICIES: &[Told] = &[
    (
        "a_guest_that_prefers_a_vf_moves_without_and_gets_one",
        policies::prefer,
    ),
    (
        "a_guest_that_waits_for_a_vf_waits_over_its_daemons_death",
        policies::killed_in_the_hold,
    ),
    ("a_guest_that_wants_no_vf_gets_none", stays::standby_only),
    ("the_guests_of_a_pf_leave_it_and_come_back", stays::work_on_a_pf),
    (
        "a_guest_that_was_saved_is_on_its_vf_when_it_is_started",
        stays::saved_and_started,
    ),
    (
        "a_guest_that_was_saved_into_a_file_is_on_its_vf_when_it_is_restored",
        stays::saved_and_restored,
    ),
    (
        "a_snapshot_is_taken_of_a_running_guest",
        stays::snapshot_of_a_running_guest,
    ),
    ("a_second_guest_waits_with_its_vf", stays::second_guest_waits),
];
