//! The table against a model, and what its names promise.

use super::*;
use crate::registry::{Structure, Walk};
use proptest::prelude::*;

fn table(name: &str) -> Table {
    crate::init_for_tests();
    Table::create(name, 16, Tag::register(name)).unwrap()
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::from_bytes(bytes, Tag::register("table-child")).unwrap()
}

#[test]
fn an_entry_keeps_its_name_across_replace() {
    let table = table("t:replace");
    let id = table
        .lock(7)
        .insert(
            &[b"contact ", b"one"],
            vec![blob(b"uri"), blob(b"path")],
            &[41],
        )
        .unwrap();
    let mut guard = table.lock_node(id).unwrap();
    let view = guard.get(id).unwrap();
    assert_eq!(
        (view.bytes(), view.child(0), view.child(1)),
        (&b"contact one"[..], Some(&b"uri"[..]), Some(&b"path"[..]))
    );
    view.words()[0].fetch_add(1, Ordering::Relaxed);
    let (uri, path) = (view.child_ref(0).unwrap(), view.child_ref(1).unwrap());
    let bad = guard.replace(
        id,
        &[b"x"],
        vec![Child::Keep(Ref {
            index: 1,
            generation: 1,
        })],
    );
    assert!(matches!(bad, Err(TableError::BadChild(0))));
    guard
        .replace(
            id,
            &[b"two"],
            vec![Child::New(blob(b"new")), Child::Keep(uri)],
        )
        .unwrap();
    let view = guard.get(id).unwrap();
    assert_eq!(
        (view.bytes(), view.child(0), view.child(1)),
        (&b"two"[..], Some(&b"new"[..]), Some(&b"uri"[..]))
    );
    assert_eq!(view.words()[0].load(Ordering::Relaxed), 42);
    assert!(
        arena().find(path).is_none(),
        "a child that was not kept is freed"
    );
    assert!(guard.remove(id));
    assert!(!guard.remove(id));
    assert!(arena().find(uri).is_none());
    drop(guard);
    assert!(table.lock_node(id).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u32, Vec<u8>, Vec<Vec<u8>>),
    Replace(usize, Vec<u8>, bool),
    Remove(usize),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..400);
    prop_oneof![
        6 => (any::<u32>(), bytes(), proptest::collection::vec(bytes(), 0..4))
            .prop_map(|(hash, bytes, children)| Step::Insert(hash, bytes, children)),
        4 => (any::<usize>(), bytes(), any::<bool>()).prop_map(|(at, bytes, keep)| Step::Replace(at, bytes, keep)),
        4 => any::<usize>().prop_map(Step::Remove),
        1 => Just(Step::Clear),
    ]
}

type Model = Vec<(NodeId, Vec<u8>, Vec<Vec<u8>>)>;

fn apply(table: Table, model: &mut Model, step: Step) {
    match step {
        Step::Insert(hash, bytes, children) => {
            let blobs = children.iter().map(|child| blob(child)).collect();
            let id = table.lock(hash).insert(&[&bytes], blobs, &[]).unwrap();
            model.push((id, bytes, children));
        }
        Step::Replace(at, bytes, keep) if !model.is_empty() => {
            let at = at % model.len();
            let (id, old, children) = &mut model[at];
            let mut guard = table.lock_node(*id).unwrap();
            let kept = if keep { children.len() } else { 0 };
            children.truncate(kept);
            let mut new: Vec<Child> = (0..kept)
                .map(|i| Child::Keep(guard.get(*id).unwrap().child_ref(i).unwrap()))
                .collect();
            new.push(Child::New(blob(b"fresh")));
            children.push(b"fresh".to_vec());
            guard.replace(*id, &[&bytes], new).unwrap();
            *old = bytes;
        }
        Step::Remove(at) if !model.is_empty() => {
            let (id, ..) = model.swap_remove(at % model.len());
            assert!(table.lock(id.bucket).remove(id));
        }
        Step::Clear => {
            table.clear();
            model.clear();
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_table_is_what_the_model_says(steps in proptest::collection::vec(step(), 1..120)) {
        static TABLE: std::sync::OnceLock<Table> = std::sync::OnceLock::new();
        let table = *TABLE.get_or_init(|| self::table("t:model"));
        table.clear();
        let mut model = Model::new();
        for step in steps {
            apply(table, &mut model, step);
        }
        prop_assert_eq!(table.len(), model.len());
        for (id, bytes, children) in &model {
            let guard = table.lock_node(*id).unwrap();
            let view = guard.get(*id).unwrap();
            prop_assert_eq!(view.bytes(), &bytes[..]);
            prop_assert_eq!(view.children_len(), children.len());
            for (i, child) in children.iter().enumerate() {
                prop_assert_eq!(view.child(i).unwrap(), &child[..]);
            }
        }
        let mut walk = Walk::new();
        table.check(&mut walk);
        prop_assert_eq!(walk.end(), crate::Checkup::default());
    }
}
