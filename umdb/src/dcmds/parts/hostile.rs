//! Every command with what nobody should type.

use super::testing::run_published;
use crate::{
    dcmds::{Address, DCMDS, Dcmd, Error, Run},
    heap::synthetic::{DATA, victim},
};

/// Addresses at which little or nothing is.
const ADDRESSES: [u64; 6] = [0, 1, DATA, DATA + 1, 1 << 63, u64::MAX];
/// Values that no option means, or not with every address.
const VALUES: [&str; 6] = ["0", "1", "ffffffffffffffff", "-1", "zzz", ""];

/// Words behind a command: each option alone, those with values with each value, and operands.
fn words(dcmd: &Dcmd) -> Vec<Vec<String>> {
    let mut all = vec![vec![]];
    for option in dcmd.options {
        let letter = format!("-{}", option.letter);
        match option.value {
            None => all.push(vec![letter]),
            Some(_) => {
                all.push(vec![letter.clone()]);
                all.extend(VALUES.map(|value| vec![letter.clone(), value.to_owned()]));
            }
        }
    }
    // These would write or read files of that name.
    if !matches!(dcmd.name, "log" | "source") {
        all.extend(VALUES.map(|value| vec![value.to_owned()]));
        all.push(VALUES.map(str::to_owned).to_vec());
    }
    all
}

/// It answers or says what is wrong, and a mistake in typing comes with the synopsis.
#[test]
fn every_command_survives_what_nobody_should_type() {
    let (mut builder, [kept, ..]) = victim();
    builder.publish();
    let mut addresses = ADDRESSES.to_vec();
    addresses.extend([kept.address, kept.record, kept.address + 3]);
    let mut runs = 0;
    let reports = DCMDS
        .iter()
        .filter(|dcmd| matches!(dcmd.run, Run::Report(_) | Run::Filter(_)));
    for dcmd in reports {
        for words in words(dcmd) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let some = addresses.iter().copied().map(Some);
            for address in std::iter::once(None).chain(some) {
                runs += 1;
                let result = run_published(&builder, dcmd, address, &words);
                let context = format!("{address:x?}::{} {words:?}", dcmd.name);
                match (result, dcmd.address, address) {
                    (Ok(_), Address::Required, None) | (Ok(_), Address::Forbidden, Some(_)) => {
                        panic!("{context} was done");
                    }
                    (Err(Error::Usage { what, hint }), ..) => {
                        let hint = hint.unwrap_or_default();
                        assert!(
                            !what.is_empty() && !what.contains('\n'),
                            "{context}: {what}"
                        );
                        assert!(hint.contains(&dcmd.usage()), "{context}: {hint}");
                    }
                    (Err(error), ..) => {
                        let text = error.to_string();
                        assert!(
                            !text.is_empty() && !text.contains('\n'),
                            "{context}: {text}"
                        );
                    }
                    (Ok(_), ..) => {}
                }
            }
        }
    }
    assert!(runs > 5000, "{runs}");
}
