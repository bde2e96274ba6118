//! One suite for every backend: the contract of [`Store`](super::Store), verb by verb; each step broken twice
//! (it failed; it failed but was saved after all); races; group commit.

mod breaker;

mod open;

mod bench;

mod leg1;

mod leg2;

mod endings;

mod log;

mod shards;

mod oversight;

pub(crate) mod filed;

mod forgetting;

mod broken;

pub(crate) mod damaged;

mod load;

pub(crate) use bench::{Backend, Bench, Open, SMALL, WELFARE, agency};
pub(crate) use damaged::damage;

/// Stamps the suite onto a backend.
macro_rules! store_conformance {
    ($name:ident, $backend:expr, $($file:ident :: $test:ident),* $(,)?) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$file::$test(super::Bench::new($backend).await).await;
                }
            )*
        }
    };
}

macro_rules! stamp {
    ($name:ident, $backend:expr) => {
        store_conformance!(
            $name,
            $backend,
            leg1::a_packet_is_durable_whole_and_accepted_once,
            leg1::an_id_used_for_another_manifest_is_refused,
            leg1::content_comes_back_byte_for_byte,
            leg1::a_file_named_by_two_packets_outlives_the_first,
            leg1::what_is_never_accepted_leaves_nothing,
            leg1::wrong_content_is_not_finished,
            leg1::a_full_store_takes_nothing_new_and_lets_the_rest_go_on,
            leg2::leases_are_exclusive_ordered_and_end,
            leg2::a_decision_on_changed_ground_is_made_again,
            leg2::a_hand_over_needs_its_lease,
            leg2::an_acknowledged_packet_is_settled_and_purged,
            leg2::an_acknowledgement_must_fit_its_consignment,
            leg2::an_obligation_is_fulfilled_once_by_whom_it_binds,
            leg2::what_is_handed_over_twice_is_bound_by_both,
            leg2::unacknowledged_parts_are_decided_anew,
            leg2::held_parts_come_back_with_a_statement_and_without_a_second_entry,
            leg2::a_statement_during_a_delivery_is_not_missed_by_what_is_held,
            leg2::a_decision_without_its_entry_or_that_tells_too_much_is_a_defect,
            endings::a_recall_is_its_senders_alone,
            endings::a_recall_takes_back_what_was_not_handed_over,
            endings::a_recall_and_a_hand_over_race_to_one_outcome,
            endings::a_packet_expires_once_and_what_arrived_still_counts,
            endings::statements_are_chained_and_judged_on_what_is,
            endings::a_statement_is_judged_by_what_is_in_force_when_it_is_committed,
            endings::ceilings_are_never_lowered,
            log::entries_are_shown_as_far_as_they_concern,
            log::evidence_is_given_in_order_from_any_position,
            log::only_one_writer_extends_the_tree,
            log::a_sequencer_that_finds_another_writer_stops,
            log::cosignatures_add_up_under_the_one_checkpoint_that_is_held_up,
            log::proofs_of_extension_hold_between_all_sizes,
            shards::a_frozen_shard_stays_as_it_is_and_what_waits_goes_into_the_next,
            shards::a_directory_may_freeze_a_shard_that_nobody_asked_to_end,
            shards::a_freeze_that_is_taken_back_loses_nothing,
            shards::a_change_of_shard_may_be_broken_at_each_step,
            oversight::what_was_in_force_is_kept_and_the_oldest_goes,
            oversight::what_waits_is_found_in_pages,
            oversight::an_emergency_waits_until_its_review,
            oversight::records_come_with_everything_that_opens_them,
            filed::entries_are_filed_by_case_and_packet,
            forgetting::no_more_goes_than_is_said_and_what_is_open_or_damaged_stays,
            forgetting::a_case_goes_page_by_page_and_leaves_its_leaves,
            forgetting::acts_go_in_the_order_of_the_log_and_nothing_else_does,
            damaged::one_damaged_packet_keeps_no_other_from_its_recipient,
            damaged::one_damaged_packet_keeps_no_other_from_ending_or_being_decided_again,
            broken::every_step_may_fail_and_be_repeated,
            load::concurrent_verbs_share_one_sync,
            load::the_same_packet_from_many_callers_is_accepted_once,
        );
    };
}

stamp!(memory, super::Backend::Memory);
stamp!(sled, super::Backend::Sled);
stamp!(postgres, super::Backend::Postgres);
