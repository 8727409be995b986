//! `acc`: accounting of transactions, as lines in the log.
//!
//! Message flags say what is accounted: `log_flag` answered transactions, `log_missed_flag` calls
//! that failed, `failed_transaction_flag` failed ones beside. `tm` tells of replies; [`line`] makes
//! the line. There is no database in this build, and call records (`cdr_…`) need a dialog module:
//! what asks for either is told so at start.

#![forbid(unsafe_code)]

mod line;

use line::{Extra, Facts, line};
use olelo_core::log::Level;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{ANY, function};
use olelo_core::route::module::{IntParam, Module, StrParam, param_ignored, param_int, param_str};
use olelo_sip::{Message, Method};
use olelo_tm::events::{Brief, Callback, E2E_ACK, Event, ON_FAILURE, RESPONSE_OUT};
use std::sync::OnceLock;

static LOG_LEVEL: IntParam = IntParam::new(1);
static LOG_FLAG: IntParam = IntParam::new(-1);
static LOG_MISSED_FLAG: IntParam = IntParam::new(-1);
static FAILED_TRANSACTION_FLAG: IntParam = IntParam::new(-1);
static FAILED_FILTER: StrParam = StrParam::unset();
static EARLY_MEDIA: IntParam = IntParam::new(0);
static REPORT_CANCELS: IntParam = IntParam::new(0);
static REPORT_ACK: IntParam = IntParam::new(0);
static DETECT_DIRECTION: IntParam = IntParam::new(0);
static LOG_EXTRA: StrParam = StrParam::unset();
static MULTI_LEG_INFO: StrParam = StrParam::unset();
static LOG_FACILITY: StrParam = StrParam::unset();
static TIME_MODE: IntParam = IntParam::new(0);
static TIME_ATTR: StrParam = StrParam::new("time_attr");
static TIME_EXTEN: StrParam = StrParam::new("time_exten");
static TIME_FORMAT: StrParam = StrParam::new("%Y-%m-%d %H:%M:%S");
static REASON_FROM_HF: IntParam = IntParam::new(0);
static CDR_ENABLE: IntParam = IntParam::new(0);
static DB_FLAG: IntParam = IntParam::new(-1);
static DB_MISSED_FLAG: IntParam = IntParam::new(-1);

static EXTRA: OnceLock<Extra> = OnceLock::new();
static LEGS: OnceLock<Extra> = OnceLock::new();
static FILTER: OnceLock<Vec<u16>> = OnceLock::new();

/// The module.
pub fn module() -> Module {
    let mut m = Module::new("acc")
        .doc("Accounting of transactions, as lines in the log.")
        .depends("tm")
        .init(init)
        .function(function("acc_log_request", |c: &mut Ctx, w: &[u8]| account(c, w)).cfg("acc_log_request").args(["comment"]).routes(ANY).doc("Writes an accounting line for the request; the comment may begin with a status: \"404 Not found\"."))
        .function(function("acc_request", |c: &mut Ctx, w: &[u8], _: &[u8]| account(c, w)).cfg("acc_request").args(["comment", "table"]).routes(ANY).doc("As acc_log_request; there is no database to write to as well."))
        .function(function("acc_db_request", no_database).cfg("acc_db_request").args(["comment", "table"]).routes(ANY).doc("Fails: there is no database in this build."))
        .param(param_int("log_level", &LOG_LEVEL).doc("Level of the lines."))
        .param(param_int("log_flag", &LOG_FLAG).doc("Message flag of transactions to account."))
        .param(param_int("log_missed_flag", &LOG_MISSED_FLAG).doc("Message flag: account calls that fail, as missed."))
        .param(param_int("failed_transaction_flag", &FAILED_TRANSACTION_FLAG).doc("Message flag: account the transaction also where it fails."))
        .param(param_str("failed_filter", &FAILED_FILTER).doc("Codes of failures that are left out all the same."))
        .param(param_int("early_media", &EARLY_MEDIA).doc("Account provisional replies with a body."))
        .param(param_int("report_cancels", &REPORT_CANCELS).doc("Account CANCEL."))
        .param(param_int("report_ack", &REPORT_ACK).doc("Account ACKs that come by."))
        .param(param_int("detect_direction", &DETECT_DIRECTION).doc("Swap From and To of requests that go upstream."))
        .param(param_str("log_extra", &LOG_EXTRA).doc("More values: name=$variable;…"))
        .param(param_str("multi_leg_info", &MULTI_LEG_INFO).doc("More values per leg, from AVPs with several values: name=$avp(x);…"))
        .param(param_str("log_facility", &LOG_FACILITY).doc("Accepted; lines go where the server's log goes."))
        .param(param_int("time_mode", &TIME_MODE).doc("1 seconds and microseconds, 2 seconds with milliseconds, 3 local time, 4 UTC by time_format."))
        .param(param_str("time_attr", &TIME_ATTR).doc("Name of that value."))
        .param(param_str("time_exten", &TIME_EXTEN).doc("Name of the microseconds."))
        .param(param_str("time_format", &TIME_FORMAT).doc("As strftime."))
        .param(param_int("reason_from_hf", &REASON_FROM_HF).doc("Take the reason from the reply's Reason header, where it has one."))
        .param(param_int("cdr_enable", &CDR_ENABLE).doc("Accepted; call records need a dialog module."))
        .param(param_int("db_flag", &DB_FLAG).doc("Accepted; there is no database."))
        .param(param_int("db_missed_flag", &DB_MISSED_FLAG).doc("Accepted; there is no database."));
    for (name, is_text, why) in WITHOUT_MEANING {
        m = m.param(param_ignored(name, *is_text, why));
    }
    m
}

const NO_DATABASE: &str = "there is no database in this build";
const NO_DIALOG: &str = "call records need a dialog module, which this build does not have";

const WITHOUT_MEANING: &[(&str, bool, &str)] = &[
    ("db_url", true, NO_DATABASE),
    ("db_extra", true, NO_DATABASE),
    ("db_table_acc", true, NO_DATABASE),
    ("db_table_missed_calls", true, NO_DATABASE),
    ("db_insert_mode", false, NO_DATABASE),
    ("db_version_check", false, NO_DATABASE),
    ("acc_method_column", true, NO_DATABASE),
    ("acc_from_tag_column", true, NO_DATABASE),
    ("acc_to_tag_column", true, NO_DATABASE),
    ("acc_callid_column", true, NO_DATABASE),
    ("acc_sip_code_column", true, NO_DATABASE),
    ("acc_sip_reason_column", true, NO_DATABASE),
    ("acc_time_column", true, NO_DATABASE),
    ("acc_extra_nullable", false, NO_DATABASE),
    ("cdrs_table", true, NO_DATABASE),
    ("cdr_start_on_confirmed", false, NO_DIALOG),
    ("cdr_log_enable", false, NO_DIALOG),
    ("cdr_on_failed", false, NO_DIALOG),
    ("cdr_duration_mode", false, NO_DIALOG),
    ("cdr_expired_dlg_enable", false, NO_DIALOG),
    ("cdr_extra", true, NO_DIALOG),
    ("cdr_extra_nullable", false, NO_DIALOG),
    ("cdr_extra_size", false, NO_DIALOG),
    ("cdr_facility", true, NO_DIALOG),
    ("cdr_skip", true, NO_DIALOG),
    ("cdr_start_id", true, NO_DIALOG),
    ("cdr_end_id", true, NO_DIALOG),
    ("cdr_duration_id", true, NO_DIALOG),
    ("acc_prepare_flag", false, "nothing has to be prepared"),
    ("acc_prepare_always", false, "nothing has to be prepared"),
    ("acc_extra_size", false, "there is no limit"),
    ("clone_msg", false, "the callback always has its own copy"),
];

fn init() -> Result<(), String> {
    let extra =
        |p: &StrParam, name: &str| Extra::parse(p.text()).map_err(|e| format!("acc: {name}: {e}"));
    let _ = EXTRA.set(extra(&LOG_EXTRA, "log_extra")?);
    let _ = LEGS.set(extra(&MULTI_LEG_INFO, "multi_leg_info")?);
    let _ = FILTER.set(filter(FAILED_FILTER.text())?);
    if CDR_ENABLE.is_on() {
        olelo_core::warn!(
            "acc",
            "cdr_enable: no call records are written: {NO_DIALOG}"
        );
    }
    if DB_FLAG.get() >= 0 || DB_MISSED_FLAG.get() >= 0 {
        olelo_core::warn!(
            "acc",
            "db_flag, db_missed_flag: nothing is written for them: {NO_DATABASE}; use log_flag"
        );
    }
    if LOG_FACILITY.get().is_some() {
        olelo_core::warn!(
            "acc",
            "log_facility: accounting lines go to the server's own facility"
        );
    }
    olelo_tm::on(Callback {
        bits: RESPONSE_OUT | ON_FAILURE | E2E_ACK,
        wants,
        run,
    });
    Ok(())
}

/// `404,407`.
fn filter(text: &str) -> Result<Vec<u16>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(|t| match t.parse() {
            Ok(code @ 300..=999) => Ok(code),
            _ => Err(format!(
                "acc: failed_filter: \"{t}\" is no code of 300 to 999"
            )),
        })
        .collect()
}

fn has(flags: u32, flag: &IntParam) -> bool {
    let n = flag.get();
    (0..32).contains(&n) && flags & 1 << n != 0
}

/// What an event is accounted as.
fn heading(b: &Brief) -> Option<&'static str> {
    if b.local || b.method == Method::Cancel && !REPORT_CANCELS.is_on() {
        return None;
    }
    match b.what {
        ON_FAILURE => {
            (b.method == Method::Invite && b.code >= 300 && has(b.flags, &LOG_MISSED_FLAG))
                .then_some("ACC: call missed: ")
        }
        E2E_ACK => {
            (REPORT_ACK.is_on() && has(b.flags, &LOG_FLAG)).then_some("ACC: request acknowledged: ")
        }
        _ if !has(b.flags, &LOG_FLAG) => None,
        _ => {
            let wanted = match b.code {
                ..=100 => false,
                101..=199 => EARLY_MEDIA.is_on(),
                200..=299 => true,
                code => {
                    has(b.flags, &FAILED_TRANSACTION_FLAG)
                        && !FILTER.get().is_some_and(|f| f.contains(&code))
                }
            };
            wanted.then_some("ACC: transaction answered: ")
        }
    }
}

fn wants(b: &Brief) -> bool {
    heading(b).is_some()
}

fn run(ctx: &mut Ctx, e: &Event<'_>) {
    let Some(heading) = heading(&e.brief) else {
        return;
    };
    let reply = Message::from_bytes(e.reply).ok();
    // Early media is a provisional reply that has a body.
    if e.brief.what == RESPONSE_OUT
        && e.brief.code < 200
        && reply.as_ref().is_none_or(|r| r.body().is_empty())
    {
        return;
    }
    let code = match e.brief.code {
        0 => String::new(),
        code => code.to_string(),
    };
    let facts = Facts {
        code: &code,
        reason: reply.as_ref().map_or(b"", |r| r.reason()),
        reply: reply.as_ref(),
    };
    write(ctx, heading, &facts);
}

fn account(ctx: &mut Ctx, comment: &[u8]) -> i64 {
    let (code, reason) = split_comment(comment);
    let facts = Facts {
        code,
        reason,
        reply: None,
    };
    write(ctx, "ACC: request accounted: ", &facts);
    1
}

fn no_database(_: &mut Ctx, _comment: &[u8], _table: &[u8]) -> i64 {
    olelo_core::error!("acc", "acc_db_request: {NO_DATABASE}; use acc_log_request");
    -1
}

/// `404 Not found` is code and reason; anything else is all reason.
fn split_comment(comment: &[u8]) -> (&str, &[u8]) {
    let comment = olelo_sip::trim(comment);
    match comment.split_first_chunk::<3>() {
        Some((code, rest))
            if code.iter().all(u8::is_ascii_digit) && rest.first().is_none_or(|b| *b == b' ') =>
        {
            (
                std::str::from_utf8(&comment[..3]).unwrap_or(""),
                olelo_sip::trim(rest),
            )
        }
        _ => ("", comment),
    }
}

fn write(ctx: &Ctx, heading: &str, facts: &Facts<'_>) {
    let none = Extra::default();
    let text = line(
        ctx,
        facts,
        EXTRA.get().unwrap_or(&none),
        LEGS.get().unwrap_or(&none),
    );
    let level = Level::from_int(LOG_LEVEL.get());
    olelo_core::log::write(
        level,
        "acc",
        file!(),
        line!(),
        format_args!("{heading}{text}"),
    );
}

#[cfg(test)]
mod tests;
