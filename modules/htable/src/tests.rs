//! What scripts see.

use super::*;

fn ready() -> Ctx {
    olelo_core::server::for_tests(vec![module()]);
    TABLES.get_or_init(|| {
        ["a=>size=4", "locks=>size=2", "walk=>size=2"]
            .iter()
            .map(|d| HTable::create(Definition::parse(d).unwrap()).unwrap())
            .collect()
    });
    let _ = lock::init();
    Ctx::new()
}

#[test]
fn values_are_read_written_and_counted_by_pseudo_variables() {
    let mut ctx = ready();
    let set = |ctx: &mut Ctx, name: &str, v: Val<'_>| {
        super::set(
            ctx,
            &PvKey {
                inner: Some(name.as_bytes()),
                ..PvKey::default()
            },
            v,
        )
        .unwrap();
    };
    set(&mut ctx, "a=>x", Val::Int(5));
    set(&mut ctx, "a=>xx", Val::Int(6));
    set(&mut ctx, "a=>y", Val::text("yes"));
    for (pv, want) in [
        ("$sht(a=>x)", Val::Int(5)),
        ("$sht(a=>none)", Val::Null),
        ("$shtinc(a=>x)", Val::Int(6)),
        ("$shtdec(a=>x)", Val::Int(5)),
        ("$shtinc(a=>none)", Val::Null),
        ("$shtinc(a=>y)", Val::Null),
        ("$shtex(a=>x)", Val::Int(0)),
        ("$shtcn(a=>~~^x)", Val::Int(2)),
        ("$shtcn(a=>~%x)", Val::Int(2)),
        ("$shtcn(a=>==x)", Val::Int(1)),
        ("$shtcn(a=>x)", Val::Int(2)),
        ("$shtcv(a=>eq5)", Val::Int(1)),
        ("$shtcv(a=>gt4)", Val::Int(2)),
        ("$shtcv(a=>==yes)", Val::Int(1)),
    ] {
        assert_eq!(ctx.pv(pv), want, "{pv}");
    }
    assert_eq!(any(b"a", b"sw", b"xx", |e| Some(e.key.clone())), 1);
    assert_eq!(any(b"a", b"eq", b"6", texts), -1, "integers are no texts");
    set(&mut ctx, "a=>x", Val::Null);
    assert_eq!(ctx.pv("$sht(a=>x)"), Val::Null);
    assert_eq!(remove(b"a", b"sw", b"x", |e| e.key.clone()), 1);
    assert_eq!(ctx.pv("$shtcn(a=>~~.)"), Val::Int(1));
    assert_eq!(put(b"nope", b"k", Value::Int(1), None), -1);
}

#[test]
fn a_walk_sees_each_entry_once_and_may_remove() {
    let mut ctx = ready();
    let t = find(b"walk").unwrap();
    for i in 0..50 {
        t.set(format!("k{i:02}").as_bytes(), &Value::Int(i), None);
    }
    assert_eq!(iterator_start(&mut ctx, b"i", b"walk"), 1);
    let mut sum = 0;
    while iterator_next(&mut ctx, b"i") > 0 {
        loop {
            let odd = ctx.pv("$shtitval(i)").as_int().is_some_and(|n| n % 2 == 1);
            if !odd || iterator_rm(&mut ctx, b"i") < 0 {
                break;
            }
        }
        if let Some(n) = ctx.pv("$shtitval(i)").as_int() {
            sum += n;
        }
    }
    assert_eq!(sum, (0..50).filter(|n| n % 2 == 0).sum::<i64>());
    let mut left = 0;
    t.for_each(|_| left += 1);
    assert_eq!(left, 25);
}

#[test]
fn a_lock_is_reentrant_and_given_back() {
    let mut ctx = ready();
    assert_eq!(locked(&mut ctx, b"locks", b"k", true), 1);
    assert_eq!(locked(&mut ctx, b"locks", b"k", true), 1);
    assert_eq!(locked(&mut ctx, b"locks", b"k", false), 1);
    lock::unlock_all(&mut ctx);
    assert_eq!(
        locked(&mut ctx, b"locks", b"k", false),
        -1,
        "nothing is held"
    );
    assert_eq!(locked(&mut ctx, b"locks", b"k", true), 1);
    lock::worker_died(olelo_mem::slot::current_slot());
    assert_eq!(locked(&mut ctx, b"locks", b"k", true), 1);
}
