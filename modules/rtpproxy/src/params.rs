//! Parameters of the module.

use olelo_core::route::module::{
    IntParam, ModParam, ParamValue, StrParam, param_call, param_ignored, param_int, param_str,
};
use olelo_rtp_nodes::nodes::{self, Node};
use std::sync::Mutex;

pub(crate) static DISABLE_TOUT: IntParam = IntParam::new(60);
pub(crate) static RETR: IntParam = IntParam::new(5);
pub(crate) static TOUT: IntParam = IntParam::new(1);
pub(crate) static NORTPPROXY_STR: StrParam = StrParam::new("a=nortpproxy:yes\r\n");
pub(crate) static TIMEOUT_SOCKET: StrParam = StrParam::unset();
pub(crate) static TIMEOUT_TAG_PV: StrParam = StrParam::unset();
pub(crate) static ICE_PRIORITY_AVP: StrParam = StrParam::unset();
pub(crate) static EXTRA_ID_PV: StrParam = StrParam::unset();
pub(crate) static RTP_INST_PVAR: StrParam = StrParam::unset();
/// The relays configured so far.
pub(crate) static LIST: Mutex<Vec<Node>> = Mutex::new(Vec::new());

/// All of them.
pub(crate) fn all() -> Vec<ModParam> {
    vec![
        param_call("rtpproxy_sock", add_nodes).doc(
            "Relays: [set ==] udp:host:port[=weight] … or unix:/path; may be given several times.",
        ),
        param_int("rtpproxy_disable_tout", &DISABLE_TOUT)
            .doc("Seconds that a relay which did not answer is left alone."),
        param_int("rtpproxy_retr", &RETR).doc("How often a command is sent until it is answered."),
        param_int("rtpproxy_tout", &TOUT).doc("Seconds to wait for an answer."),
        param_str("nortpproxy_str", &NORTPPROXY_STR)
            .doc("SDP line that marks descriptions which go through a relay; empty for none."),
        param_str("timeout_socket", &TIMEOUT_SOCKET)
            .doc("Where the relay tells that media has stopped."),
        param_str("timeout_tag_pv", &TIMEOUT_TAG_PV)
            .doc("Pseudo-variable with what the relay tells there about the call."),
        param_str("ice_candidate_priority_avp", &ICE_PRIORITY_AVP)
            .doc("Pseudo-variable: 1 or 2 to add the relay to ICE candidates, with high or low priority."),
        param_str("extra_id_pv", &EXTRA_ID_PV).doc("Pseudo-variable for the flag b."),
        param_str("rtp_inst_pvar", &RTP_INST_PVAR)
            .doc("Pseudo-variable that gets the chosen relay."),
        param_ignored(
            "db_url",
            true,
            "there is no database; relays are given with rtpproxy_sock",
        ),
        param_ignored(
            "table_name",
            true,
            "there is no database; relays are given with rtpproxy_sock",
        ),
    ]
}

fn add_nodes(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(s) = v else {
        return Err("wants udp:host:port".into());
    };
    let mut list = LIST.lock().map_err(|e| e.to_string())?;
    nodes::parse(s, 0, &mut list)
}
