//! Parameters of `tm`, with the defaults that operators know.

use crate::ids::OldMatching;
use crate::machine::Rules;
use olelo_core::route::module::{
    IntParam, ModParam, StrParam, param_ignored, param_int, param_str,
};
use olelo_sip::Method;

macro_rules! ints {
    ($($id:ident $name:literal $default:literal $doc:literal;)*) => {
        $(#[doc = $doc] pub static $id: IntParam = IntParam::new($default);)*
        fn int_params() -> Vec<ModParam> { vec![$(param_int($name, &$id).doc($doc)),*] }
    };
}
macro_rules! strs {
    ($($id:ident $name:literal $make:expr, $doc:literal;)*) => {
        $(#[doc = $doc] pub static $id: StrParam = $make;)*
        fn str_params() -> Vec<ModParam> { vec![$(param_str($name, &$id).doc($doc)),*] }
    };
}

ints! {
    FR_TIMER "fr_timer" 30000 "Milliseconds to wait for a final reply where no provisional one has come.";
    FR_INV_TIMER "fr_inv_timer" 120000 "Milliseconds to wait for a final reply to an INVITE that rings.";
    WT_TIMER "wt_timer" 5000 "Milliseconds that an ended transaction stays to absorb what comes late.";
    RETR_TIMER1 "retr_timer1" 500 "First retransmission interval in milliseconds (T1).";
    RETR_TIMER2 "retr_timer2" 4000 "Longest retransmission interval in milliseconds (T2).";
    MAX_INV_LIFETIME "max_inv_lifetime" 180000 "Milliseconds that an INVITE transaction may last; 0 for no limit.";
    MAX_NONINV_LIFETIME "max_noninv_lifetime" 32000 "Milliseconds that another transaction may last; 0 for no limit.";
    NOISY_CTIMER "noisy_ctimer" 1 "Answer 408 when an INVITE that rings times out.";
    AUTO_INV_100 "auto_inv_100" 1 "Send 100 when an INVITE is relayed.";
    RESTART_FR "restart_fr_on_each_reply" 1 "Start fr_inv_timer again at each provisional reply.";
    PASS_PROVISIONAL "pass_provisional_replies" 0 "Tell other modules of provisional replies to local requests.";
    AGGREGATE_CHALLENGES "aggregate_challenges" 1 "Put the challenges of all branches into one 401 or 407.";
    UNMATCHED_CANCEL "unmatched_cancel" 0 "A CANCEL without its INVITE: 0 relay with state, 1 without, 2 drop.";
    DEFAULT_CODE "default_code" 500 "Code of a reply where nothing better is known.";
    CANCEL_B_METHOD "cancel_b_method" 1 "A branch without reply is canceled: 0 at once without CANCEL, 1 when a reply comes, 2 at once with CANCEL.";
    DISABLE_6XX_BLOCK "disable_6xx_block" 0 "Treat 6xx as any other negative reply.";
    LOCAL_ACK_MODE "local_ack_mode" 0 "ACK of a local INVITE goes: 0 by Contact and route set, 1 where the INVITE went, 2 where the 2xx came from.";
    FAILURE_REPLY_MODE "failure_reply_mode" 3 "Replies forgotten when serial forking goes on: 0 none, 1 and 3 all, 2 those of the last step.";
    FAKED_REPLY_PRIO "faked_reply_prio" 0 "Handicap of replies made here in the choice of the best.";
    REMAP_503_500 "remap_503_500" 1 "Forward a 503 as 500 (RFC 3261 16.7).";
    FAILURE_EXEC_MODE "failure_exec_mode" 0 "Run the failure route also where no branch could be sent.";
    LOCAL_CANCEL_REASON "local_cancel_reason" 1 "Add Reason to a CANCEL caused by a final reply.";
    E2E_CANCEL_REASON "e2e_cancel_reason" 1 "Copy Reason of a received CANCEL into ours.";
    RELAY_100 "relay_100" 0 "Forward 100 replies.";
    RICH_REDIRECT "rich_redirect" 0 "Contacts of a 3xx carry: 1 branch flags, 2 the path; may be added.";
    RURI_MATCHING "ruri_matching" 1 "Compare the request URI where the Via has no RFC 3261 branch.";
    VIA1_MATCHING "via1_matching" 1 "Compare the topmost Via where it has no RFC 3261 branch.";
    REPLY_408_CODE "reply_408_code" 408 "Code of the reply to a request that timed out.";
    DELAYED_REPLY "delayed_reply" 1 "Answer a request whose relaying failed when the script ends, unless the script did.";
    ENABLE_UAC_FR "enable_uac_fr" 0 "Run failure routes for local requests.";
    BLST_503 "blst_503" 0 "Avoid the source of a 503 for a while (use_dst_blocklist).";
    BLST_503_DEF "blst_503_def_timeout" 0 "Seconds to avoid it where the 503 has no Retry-After; 0 not at all.";
    BLST_503_MIN "blst_503_min_timeout" 0 "Fewest seconds to avoid it, whatever Retry-After says.";
    BLST_503_MAX "blst_503_max_timeout" 3600 "Most seconds to avoid it, whatever Retry-After says.";
    BLST_METHODS_ADD "blst_methods_add" 1 "Methods whose timeout puts a destination on the blocklist; a sum of 1 INVITE, 2 CANCEL, 4 ACK, 8 BYE, 16 INFO, 32 REGISTER, 64 SUBSCRIBE, 128 NOTIFY, 256 others.";
    BLST_METHODS_LOOKUP "blst_methods_lookup" 4294967287 "Methods that are not sent to a destination on the blocklist, as in blst_methods_add.";
    EXEC_TIME_CHECK "exec_time_check" 5000 "Warn of a failure route that takes longer than this many milliseconds; 0 never.";
}

strs! {
    AUTO_100_REASON "auto_inv_100_reason" StrParam::new("trying -- your call is important to us"), "Reason of the automatic 100.";
    DEFAULT_REASON "default_reason" StrParam::new("Server Internal Error"), "Reason of a reply where nothing better is known.";
    REPLY_408_REASON "reply_408_reason" StrParam::new("Request Timeout"), "Reason of the reply to a request that timed out.";
    ON_SL_REPLY "on_sl_reply" StrParam::unset(), "Reply route for replies without transaction.";
    CONTACTS_AVP "contacts_avp" StrParam::unset(), "XAVP in which t_load_contacts keeps the destination set.";
    FLOWS_AVP "contact_flows_avp" StrParam::unset(), "XAVP for more flows to the same instance.";
    XAVP_CONTACT "xavp_contact" StrParam::unset(), "XAVP with the attributes of each contact.";
    FR_TIMER_AVP "fr_timer_avp" StrParam::unset(), "AVP with seconds that override fr_timer.";
    FR_INV_TIMER_AVP "fr_inv_timer_avp" StrParam::unset(), "AVP with seconds that override fr_inv_timer.";
    FAILOVER_CODES "failover_reply_codes" StrParam::unset(), "Replies besides 503 after which the next address is tried (use_dns_failover): 'code=403;class=5'.";
    EVENT_CALLBACK "event_callback" StrParam::unset(), "Function that runs for tm:local-request.";
    CB_LRES_SENT "event_callback_lres_sent" StrParam::unset(), "Function that runs for tm:local-response.";
    CB_LOCAL_ACK "evcb_local_ack_sent" StrParam::unset(), "Function that runs for tm:local-ack-sent.";
}

/// All parameters.
pub fn all() -> Vec<ModParam> {
    let mut v = int_params();
    v.extend(str_params());
    let always = "Replies always match by the branch, which names the transaction.";
    v.extend([
        param_ignored("reply_matching", false, always),
        param_ignored(
            "callid_matching",
            false,
            "Call-ID is always part of the look-up.",
        ),
        param_ignored(
            "callid_cseq_matching",
            false,
            "Requests match as RFC 3261 says.",
        ),
        param_ignored(
            "unix_tx_timeout",
            false,
            "There are no UNIX datagram outputs.",
        ),
        param_ignored("tw_append", true, "There are no UNIX datagram outputs."),
        param_ignored(
            "reparse_invite",
            false,
            "ACK and CANCEL are always made from the INVITE as sent.",
        ),
        param_ignored(
            "ac_extra_hdrs",
            true,
            "ACK and CANCEL carry what RFC 3261 says.",
        ),
        param_ignored(
            "reparse_on_dns_failover",
            false,
            "The next address gets the same bytes with another Via.",
        ),
        param_ignored(
            "dns_reuse_rcv_socket",
            false,
            "The next address is sent to from the socket that the first would be.",
        ),
        param_ignored(
            "local_ack_branch_mode",
            false,
            "An ACK made here has a branch of its own.",
        ),
        param_ignored(
            "e2e_cancel_hop_by_hop",
            false,
            "A CANCEL is always hop by hop (RFC 3261 §9.2).",
        ),
        param_ignored(
            "headers_mode",
            false,
            "Header changes of a branch route belong to their branch.",
        ),
        param_ignored("reply_relay_mode", false, "Replies are not suspended."),
        param_ignored(
            "evlreq_mode",
            false,
            "The event route runs for every local request.",
        ),
    ]);
    v
}

/// What decides about replies and timers.
pub fn rules() -> Rules {
    Rules {
        restart_fr: RESTART_FR.is_on(),
        relay_100: RELAY_100.is_on(),
        cancel_method: CANCEL_B_METHOD.get().clamp(0, 2) as u8,
    }
}

/// Whether a reply of this status makes a leg go on to the next address of its destination.
pub fn fails_over(status: u16) -> bool {
    status == 503 || status >= 300 && FAILOVER_CODES.get().is_some_and(|list| names(list, status))
}

/// Whether a list like `code=403;class=5` names a status.
fn names(list: &str, status: u16) -> bool {
    list.split([';', ',']).any(|item| {
        let (what, n) = item.split_once('=').unwrap_or(("code", item));
        match (what.trim(), n.trim().parse::<u16>()) {
            ("code", Ok(n)) => status == n,
            ("class", Ok(n)) => status / 100 == n,
            _ => false,
        }
    })
}

/// Whether a request of this method that nobody answers puts its destination on the blocklist.
pub fn blocklist_adds(m: Method) -> bool {
    BLST_METHODS_ADD.get() & method_bit(m) != 0
}

/// Whether requests of this method avoid what is on the blocklist.
pub fn blocklist_looked_up(m: Method) -> bool {
    BLST_METHODS_LOOKUP.get() & method_bit(m) != 0
}

fn method_bit(m: Method) -> i64 {
    match m {
        Method::Invite => 1,
        Method::Cancel => 2,
        Method::Ack => 4,
        Method::Bye => 8,
        Method::Info => 16,
        Method::Register => 32,
        Method::Subscribe => 64,
        Method::Notify => 128,
        _ => 256,
    }
}

/// How requests without an RFC 3261 branch match.
pub fn old_matching() -> OldMatching {
    OldMatching {
        ruri: RURI_MATCHING.is_on(),
        via: VIA1_MATCHING.is_on(),
    }
}

/// Milliseconds as they are kept in a transaction.
pub fn ms(p: &IntParam) -> u32 {
    u32::try_from(p.get()).unwrap_or(0)
}

/// Parameters that `cfg.set` changes while the server runs.
pub const DYNAMIC: &[&str] = &[
    "fr_timer",
    "fr_inv_timer",
    "fr_inv_timer_next",
    "wt_timer",
    "retr_timer1",
    "retr_timer2",
    "max_inv_lifetime",
    "max_noninv_lifetime",
    "noisy_ctimer",
    "auto_inv_100",
    "restart_fr_on_each_reply",
    "pass_provisional_replies",
    "aggregate_challenges",
    "unmatched_cancel",
    "default_code",
    "ruri_matching",
    "via1_matching",
    "cancel_b_method",
    "disable_6xx_block",
    "local_ack_mode",
    "local_cancel_reason",
    "e2e_cancel_reason",
    "relay_100",
    "failure_reply_mode",
    "blst_503",
    "blst_503_def_timeout",
    "blst_503_min_timeout",
    "blst_503_max_timeout",
    "blst_methods_add",
    "blst_methods_lookup",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_by_number_and_class() {
        for (list, status, want) in [
            ("code=403;code=488;class=5", 488, true),
            ("code=403;code=488;class=5", 504, true),
            ("code=403; class=5", 404, false),
            ("408,480", 480, true),
            ("nonsense", 500, false),
            ("", 500, false),
        ] {
            assert_eq!(names(list, status), want, "{list} {status}");
        }
        assert!(fails_over(503) && !fails_over(500) && !fails_over(200));
    }

    #[test]
    fn only_bye_is_sent_to_what_failed() {
        assert!(blocklist_looked_up(Method::Invite) && blocklist_looked_up(Method::Options));
        assert!(!blocklist_looked_up(Method::Bye));
        assert!(blocklist_adds(Method::Invite) && !blocklist_adds(Method::Options));
    }
}
