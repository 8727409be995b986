//! The statistics of group `tmx`, read from what `tm` counts.

use olelo_core::stats::Stat;
use olelo_tm::stats as tm;
use olelo_tm::tmx_api;

macro_rules! computed {
    ($($id:ident $name:literal $doc:literal $f:expr;)*) => {
        $(static $id: Stat = Stat::computed("tmx", $name, $doc, $f);)*
        /// All of them.
        pub static ALL: &[&Stat] = &[$(&$id),*];
    };
}
computed! {
    UAS "UAS_transactions" "transactions of requests received" || tm::UAS.get();
    UAC "UAC_transactions" "transactions of requests made here" || tm::UAC.get();
    C2XX "2xx_transactions" "transactions that ended with 2xx" || tm::C2XX.get();
    C3XX "3xx_transactions" "transactions that ended with 3xx" || tm::C3XX.get();
    C4XX "4xx_transactions" "transactions that ended with 4xx" || tm::C4XX.get();
    C5XX "5xx_transactions" "transactions that ended with 5xx" || tm::C5XX.get();
    C6XX "6xx_transactions" "transactions that ended with 6xx" || tm::C6XX.get();
    IN_USE "inuse_transactions" "transactions in memory" || olelo_tm::in_use() as i64;
    ACTIVE "active_transactions" "transactions without a final reply" tmx_api::active;
    RECEIVED "rpl_received" "replies received for a transaction" || tm::RPL_RECEIVED.get();
    ABSORBED "rpl_absorbed" "replies received and not relayed" || tm::RPL_ABSORBED.get();
    GENERATED "rpl_generated" "replies made here and sent" || tm::RPL_GENERATED.get();
    RELAYED "rpl_relayed" "replies received and relayed" || tm::RPL_RELAYED.get();
    SENT "rpl_sent" "replies sent" || tm::RPL_SENT.get();
}
