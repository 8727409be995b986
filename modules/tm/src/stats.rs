//! What `tm` counts. `tmx` shows these as statistics, `tm.stats` as a list.

use olelo_core::stats::Stat;

macro_rules! cells {
    ($($id:ident $name:literal $doc:literal;)*) => {
        $(#[doc = $doc] pub static $id: Stat = Stat::counter("tm", $name, $doc);)*
        /// All of them.
        pub static ALL: &[&Stat] = &[$(&$id),*];
    };
}
cells! {
    CREATED "created" "transactions created";
    FREED "freed" "transactions freed";
    UAS "uas" "transactions of requests received";
    UAC "uac" "transactions of requests made here";
    RPL_RECEIVED "rpl_received" "replies received for a transaction";
    RPL_ABSORBED "rpl_absorbed" "replies received and not relayed";
    RPL_GENERATED "rpl_generated" "replies made here and sent";
    RPL_RELAYED "rpl_relayed" "replies received and relayed";
    RPL_SENT "rpl_sent" "replies sent";
    C2XX "2xx" "transactions that ended with 2xx";
    C3XX "3xx" "transactions that ended with 3xx";
    C4XX "4xx" "transactions that ended with 4xx";
    C5XX "5xx" "transactions that ended with 5xx";
    C6XX "6xx" "transactions that ended with 6xx";
    ENDED "ended" "transactions that have their final reply";
    NO_MEMORY "no_memory" "requests refused because memory is short";
}

/// A transaction has its final reply.
pub fn ended(code: u16) {
    ENDED.inc();
    match code / 100 {
        2 => C2XX.inc(),
        3 => C3XX.inc(),
        4 => C4XX.inc(),
        5 => C5XX.inc(),
        6 => C6XX.inc(),
        _ => {}
    }
}
