//! What `tm` remembers about the message that a process works on.
//!
//! It lives in [`Ctx::ext`], so it is gone with the message. Routes and timers that the script sets
//! before there is a transaction wait here until there is one.

use olelo_core::mem::NodeId;
use olelo_core::route::ctx::Ctx;

/// Which part of a transaction the running route works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// The request as it came in.
    #[default]
    Request,
    /// A failure route, or the route of `t_continue`: leg and status of the winning reply.
    Failure {
        /// Leg; none where it is not about a leg.
        leg: Option<usize>,
        /// Status.
        code: u16,
    },
    /// A branch failure route.
    LegFailure {
        /// Leg.
        leg: usize,
        /// Status.
        code: u16,
    },
    /// A reply route.
    Reply {
        /// Leg.
        leg: usize,
    },
}

/// See the file's essay.
#[derive(Debug, Default)]
pub struct Mine {
    /// The message's transaction.
    pub node: Option<NodeId>,
    /// For a CANCEL: the INVITE's transaction.
    pub invite: Option<NodeId>,
    /// The route that runs.
    pub side: Side,
    /// This process has created the transaction in this route.
    pub created: bool,
    /// A reply was sent without state.
    pub answered_stateless: bool,
    /// Failure route to be.
    pub on_failure: Option<String>,
    /// Branch failure route to be.
    pub on_branch_failure: Option<String>,
    /// Branch route to be.
    pub on_branch: Option<String>,
    /// Reply route to be.
    pub on_reply: Option<String>,
    /// Timers to be; 0 for the default: fr, fr_inv, T1, T2.
    pub timers: [u32; 4],
    /// Lifetime to be: INVITE, others.
    pub life: [u32; 2],
    /// Send 100.
    pub auto_100: Option<bool>,
    /// Flags to set in the transaction.
    pub set_flags: u32,
    /// Flags to clear in the transaction.
    pub clear_flags: u32,
    /// Send no reply where relaying fails.
    pub no_internal_reply: bool,
    /// Which replies are forgotten when a leg is added: 'a', 'l', 'n'.
    pub drop_replies: Option<u8>,
    /// The route was changed by the script: URIs as the failure route found them.
    pub uri_before: (Option<Vec<u8>>, Option<Vec<u8>>),
    /// What to answer when the script ends without an answer.
    pub delayed: Option<(u16, &'static str)>,
    /// Edits as they were at `t_save_lumps`.
    pub saved_edits: Option<olelo_sip::Edits>,
    /// Who is told of the end of a request made here: module, a zero byte, data.
    pub notify: Vec<u8>,
    /// Drop the transaction's request after this route (`t_drop`).
    pub dropped: bool,
}

/// What is remembered about the message.
pub fn mine(ctx: &mut Ctx) -> &mut Mine {
    ctx.ext::<Mine>()
}

/// What is remembered, to read.
pub fn mine_ref(ctx: &Ctx) -> Option<&Mine> {
    ctx.ext_ref::<Mine>()
}

/// The transaction of the message, if it is known.
pub fn node(ctx: &Ctx) -> Option<NodeId> {
    mine_ref(ctx)?.node
}
