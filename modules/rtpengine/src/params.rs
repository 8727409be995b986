//! Parameters of the module.

use olelo_core::route::module::{
    IntParam, ModParam, ParamValue, StrParam, param_call, param_ignored, param_int, param_str,
};
use olelo_rtp_nodes::nodes::{self, Node};
use std::sync::Mutex;

pub(crate) static DISABLE_TOUT: IntParam = IntParam::new(60);
pub(crate) static AGGRESSIVE: IntParam = IntParam::new(0);
pub(crate) static RETR: IntParam = IntParam::new(5);
pub(crate) static QUERIED_NODES_LIMIT: IntParam = IntParam::new(30);
pub(crate) static TOUT_MS: IntParam = IntParam::new(1000);
pub(crate) static ALLOW_OP: IntParam = IntParam::new(0);
pub(crate) static TOS: IntParam = IntParam::new(-1);
pub(crate) static PING_MODE: IntParam = IntParam::new(1);
pub(crate) static PING_INTERVAL: IntParam = IntParam::new(60);
pub(crate) static EXTRA_ID_PV: StrParam = StrParam::unset();
pub(crate) static SETID_AVP: StrParam = StrParam::unset();
pub(crate) static SEND_FROM: StrParam = StrParam::unset();
pub(crate) static RTP_INST_PVAR: StrParam = StrParam::unset();
pub(crate) static WRITE_SDP_PV: StrParam = StrParam::unset();
pub(crate) static WRITE_SDP_PV_MODE: IntParam = IntParam::new(0);
pub(crate) static READ_SDP_PV: StrParam = StrParam::unset();
pub(crate) static HASH_TABLE_TOUT: IntParam = IntParam::new(3600);
pub(crate) static HASH_TABLE_SIZE: IntParam = IntParam::new(256);
pub(crate) static SETID_DEFAULT: IntParam = IntParam::new(0);
pub(crate) static MEDIA_DURATION: StrParam = StrParam::unset();
pub(crate) static HASH_ALGO: IntParam = IntParam::new(2);
pub(crate) static EVENT_CALLBACK: StrParam = StrParam::unset();
pub(crate) static DTMF_SOCK: StrParam = StrParam::unset();
/// Pseudo-variables for the parts of a DTMF event, in the order of [`DTMF_PARTS`].
pub(crate) static DTMF: [StrParam; 10] = [const { StrParam::unset() }; 10];
/// The relays configured so far.
pub(crate) static LIST: Mutex<Vec<Node>> = Mutex::new(Vec::new());

/// Parameter, and the member of the relay's event whose value its pseudo-variable gets.
pub(crate) const DTMF_PARTS: [(&str, &str); 10] = [
    ("dtmf_event_callid", "callid"),
    ("dtmf_event_source_tag", "source_tag"),
    ("dtmf_event_timestamp", "timestamp"),
    ("dtmf_event", "event"),
    ("dtmf_event_source_label", "source_label"),
    ("dtmf_event_tags", "tags"),
    ("dtmf_event_type", "type"),
    ("dtmf_event_source_ip", "source_ip"),
    ("dtmf_event_duration", "duration"),
    ("dtmf_event_volume", "volume"),
];

/// What is measured, by the middle of the parameters' names: `mos_{}_pv`, `mos_{}_A_pv`, `mos_{}_B_pv`.
pub(crate) const MOS_PARTS: [&str; 18] = [
    "min",
    "min_at",
    "min_packetloss",
    "min_jitter",
    "min_roundtrip",
    "min_roundtrip_leg",
    "max",
    "max_at",
    "max_packetloss",
    "max_jitter",
    "max_roundtrip",
    "max_roundtrip_leg",
    "average",
    "average_packetloss",
    "average_jitter",
    "average_roundtrip",
    "average_roundtrip_leg",
    "average_samples",
];
/// The pseudo-variables for them: of the whole call, of the legs labelled A, of those labelled B.
pub(crate) static MOS: [[StrParam; 18]; 3] = [const { [const { StrParam::unset() }; 18] }; 3];
/// The pseudo-variables that hold the labels A and B.
pub(crate) static MOS_LABELS: [StrParam; 2] = [const { StrParam::unset() }; 2];

/// All of them.
pub(crate) fn all() -> Vec<ModParam> {
    let mut v = vec![
        param_call("rtpengine_sock", add_nodes).doc("Relays: [set ==] udp:host:port[=weight] …; may be given several times."),
        param_int("rtpengine_disable_tout", &DISABLE_TOUT).dynamic().doc("Seconds that a relay which did not answer is left alone."),
        param_int("aggressive_redetection", &AGGRESSIVE).dynamic().doc("Where no relay is left, those that are left alone are tried at once."),
        param_int("rtpengine_retr", &RETR).dynamic().doc("How often a command is sent until it is answered."),
        param_int("queried_nodes_limit", &QUERIED_NODES_LIMIT).dynamic().doc("Most relays asked for one command."),
        param_int("rtpengine_tout_ms", &TOUT_MS).dynamic().doc("Milliseconds to wait for an answer."),
        param_int("rtpengine_allow_op", &ALLOW_OP).dynamic().doc("Calls of a relay that is not used go on with it: 1 always, 2 where it was switched off by hand."),
        param_int("control_cmd_tos", &TOS).doc("Type of service of commands; -1 for the system's."),
        param_int("ping_mode", &PING_MODE).doc("0 no pings, 1 all relays at start, 2 again every ping_interval."),
        param_int("ping_interval", &PING_INTERVAL).doc("Seconds between pings."),
        param_str("extra_id_pv", &EXTRA_ID_PV).doc("Pseudo-variable for via-branch=extra."),
        param_str("setid_avp", &SETID_AVP).doc("Pseudo-variable with the set to use."),
        param_str("force_send_interface", &SEND_FROM).doc("Address that commands are sent from."),
        param_str("rtp_inst_pvar", &RTP_INST_PVAR).doc("Pseudo-variable that gets the chosen relay."),
        param_str("write_sdp_pv", &WRITE_SDP_PV).doc("Pseudo-variable that gets the new description in place of the body."),
        param_int("write_sdp_pv_mode", &WRITE_SDP_PV_MODE).doc("1: the body gets it as well."),
        param_str("read_sdp_pv", &READ_SDP_PV).doc("Pseudo-variable with the description to send in place of the body's."),
        param_int("hash_table_tout", &HASH_TABLE_TOUT).doc("Seconds that a call's relay is remembered."),
        param_int("hash_table_size", &HASH_TABLE_SIZE).doc("Buckets of the table of calls."),
        param_int("setid_default", &SETID_DEFAULT).doc("The set used where none is chosen."),
        param_str("media_duration", &MEDIA_DURATION).doc("Pseudo-variable that gets the length of media played, milliseconds."),
        param_int("hash_algo", &HASH_ALGO).doc("How a relay is chosen from the Call-ID: 0 sum, 1 SHA-1, 2 CRC-32."),
        param_str("event_callback", &EVENT_CALLBACK).doc("Script function for DTMF events."),
        param_str("dtmf_events_sock", &DTMF_SOCK).doc("Where DTMF events are received: udp:host:port."),
        param_ignored("wsapi", true, "relays are reached over UDP"),
        param_ignored("enable_dmq", false, "calls are remembered by this server only"),
        param_ignored("dmq_peer_id", true, "calls are remembered by this server only"),
    ];
    for name in [
        "db_url",
        "table_name",
        "setid_col",
        "url_col",
        "weight_col",
        "disabled_col",
    ] {
        v.push(param_ignored(
            name,
            true,
            "there is no database; relays are given with rtpengine_sock",
        ));
    }
    for ((name, part), to) in DTMF_PARTS.iter().zip(&DTMF) {
        let doc: &'static str = format!("Pseudo-variable that gets {part} of a DTMF event.").leak();
        v.push(param_str(name, to).doc(doc));
    }
    for (i, label) in ["", "_A", "_B"].iter().enumerate() {
        if i > 0 {
            let name: &'static str = format!("mos{label}_label_pv").leak();
            v.push(
                param_str(name, &MOS_LABELS[i - 1]).doc(
                    "Pseudo-variable with the label of the legs that the following are about.",
                ),
            );
        }
        for (part, to) in MOS_PARTS.iter().zip(&MOS[i]) {
            let name: &'static str = format!("mos_{part}{label}_pv").leak();
            v.push(param_str(name, to).doc("Pseudo-variable that gets this part of the quality of a call after a delete or query."));
        }
    }
    v
}

fn add_nodes(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(s) = v else {
        return Err("wants udp:host:port".into());
    };
    let mut list = LIST.lock().map_err(|e| e.to_string())?;
    nodes::parse(s, 0, &mut list)
}
