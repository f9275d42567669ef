"""The rules of the protocol, each of which can be switched off to show what it prevents."""
from __future__ import annotations

RULES: dict[str, str] = {
    "arm_data": "a data operation commits an intent over its range first",
    "arm_name": "a namespace operation arms its directories first",
    "arm_attr": "an attribute operation arms its node first",
    "arm_everywhere": "intents are committed on every online store, not only on the lead",
    "arm_this_generation": "only an intent of this generation covers an operation",
    "clear_old_only": "a checkpoint clears the intents of the old generation only",
    "born_this_generation": "only a node born in this generation is covered by its directory",
    "wait_for_old": "a checkpoint waits until the operations of the old generation have ended",
    "sync_before_commit": "every store is made durable before the first one commits a checkpoint",
    "sync_failure_final": "a store whose sync failed is put out, not retried",
    "record_failures": "failed operations are recorded under their seq",
    "range_locks": "overlapping operations reach all stores in the same order",
    "stale_before_ack": "stores that missed an operation are recorded stale before it is acknowledged",
    "first_in_flight": "an epoch's first_seq counts operations in flight",
    "old_calls_end": "a store that was put out returns only after every call still running on it has ended",
    "reserve_everywhere": "seq and node blocks are committed on every online store before use",
    "highest_reserve": "a mount issues numbers above the highest reservation of any store present",
    "epoch_per_mount": "each mount founds an epoch before durable_seq moves",
    "base": "resync starts no higher than the base of the next epoch",
    "void_epochs": "an unconfirmed tip that one of its own members lacks is void",
    "idle_epochs": "a tip in which nothing was done is void",
    "trim_void": "a void tip is dropped from the target's map when its resync begins",
    "confirm_before_use": "an epoch is confirmed on every member before anything is done in it",
    "compare_places": "the lineage test also compares what is newer, place by place",
    "beyond_next_epoch": "a durable_seq at or above the first_seq of the next epoch is a fork",
    "degraded_refused": "an unclean mount without a member needs the user's word",
    "resyncing_no_source": "a store that is being resynced is never a source",
    "both_maps": "the delta is what either map numbers above `from`",
    "fork_base": "healing a fork starts no higher than the bases of the epochs not shared",
    "fork_nodes": "node ids born after a fork never match across it",
    "fork_intents": "before a fork is healed, intents cover all of its delta",
    "target_intents": "the delta includes everything under the target's own intents",
    "lap_lineage": "a target knows whose lineage a lap that was cut came from, and counts it with its own",
    "keep_target_intents": "a target keeps its intents until the lap that heals it is closed",
    "union_recovery": "recovery renumbers what lies under any present member's intents",
    "recover_source": "recovery renumbers what lies under the source's own intents",
    "sync_at_recovery": "the source is synced before recovery commits",
    "past_the_cache": "ranges in doubt are rewritten or compared past the page cache",
    "lap_intents": "a lap commits intents over what it is about to change",
    "keep_attr_cover": "a data batch that clears its intents leaves the attributes covered",
    "keep_unmap_intents": "intents over unmapped ranges stay until the lap is closed",
    "keep_skipped": "what a lap skips because its source has gone stays under intents when the lap is closed",
    "keep_ahead": "what a lap copies while the source has an intent over it stays under one on the target",
    "skip_outside_intents": "a cut lap skips what is already there only outside intents",
    "copy_absent_whole": "a node absent on the target is copied whole",
    "whole_identity": "a node is recognised by inode number and generation, not by the number alone",
    "verify_source": "a source file is opened through the live node table and verified",
    "limbo": "what must leave its place goes to limbo first",
    "hold_last_lap": "mutating operations are held during the last lap",
    "sync_before_close": "the target is made durable before the lap is closed",
    "copy_found_by_path": "the identities of a restored copy are void and found anew by path",
    "copy_last": "a restored copy is the source only where no store of its rank is an original",
    "copy_epoch": "a copy that goes on alone marks its epoch; a store that was not left cleanly there forks from it",
    "doubt_own": "a store whose file is found wrong has an intent over it that no checkpoint drops",
    "doubt_elsewhere": "where its own map does not take that, the maps of all others have it",
    "doubt_given": "a store that comes back is given what the source's map has in doubt",
    "doubt_follows": "the last lap leaves the source's doubts in the target's map, while another member is away",
    "lap_after_doubt": "a doubt that began after the last lap did asks for another one",
    "doubt_ranks": "of equal rank, a store whose files were found wrong is not the source",
    "unclean_copy_whole": "a file by file copy of a store not left in good order gets a map in which all is in doubt",
    "unclean_copy_last": "such a copy is no source",
    "unclean_copy_past": "and its new map tells its past until a lap is closed",
    "unclean_copy_numbers": "and keeps its reserved numbers",
    "copy_doubt": "in armed directories of a restored copy, paths prove nothing",
}


# without these nothing is lost, but more is called a fork than is one
CAUTION = ("void_epochs", "idle_epochs", "degraded_refused")


class Rules:
    """`rules.base` and so on: whether the rule holds in this run."""

    def __init__(self, off: tuple[str, ...] = ()) -> None:
        self.off = off
        for name in off:
            if name not in RULES:
                raise ValueError(f"no such rule: {name}")
        for name in RULES:
            setattr(self, name, name not in off)

    def __getattr__(self, name: str) -> bool:       # only for the type checker's sake: every rule is set above
        raise AttributeError(name)
