//! Is it enough, can it still be enough? No I/O, no clock.

/// How a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// May still become ready.
    Open,
    /// Never will.
    Hopeless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The required number is ready.
    Enough,
    /// The required number can no longer be reached.
    Never,
    Open,
}

/// `after[i]` are the targets that target `i` waits for: with one of them hopeless, it is hopeless too.
pub fn decide(required: usize, standings: &[Standing], after: &[Vec<usize>]) -> Decision {
    let ready = standings.iter().filter(|standing| **standing == Standing::Ready).count();
    if ready >= required {
        return Decision::Enough;
    }
    let mut hopeless: Vec<bool> = standings.iter().map(|standing| *standing == Standing::Hopeless).collect();
    loop {
        let before = hopeless.iter().filter(|lost| **lost).count();
        for (index, needs) in after.iter().enumerate() {
            if standings[index] == Standing::Open && needs.iter().any(|need| hopeless[*need]) {
                hopeless[index] = true;
            }
        }
        let now = hopeless.iter().filter(|lost| **lost).count();
        if now == before {
            return if standings.len() - now < required { Decision::Never } else { Decision::Open };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Hopeless, Open, Ready};

    fn free(count: usize) -> Vec<Vec<usize>> {
        vec![Vec::new(); count]
    }

    #[test]
    fn all_any_and_some() {
        assert_eq!(decide(2, &[Ready, Ready], &free(2)), Decision::Enough);
        assert_eq!(decide(2, &[Ready, Open], &free(2)), Decision::Open);
        assert_eq!(decide(2, &[Ready, Hopeless], &free(2)), Decision::Never);
        assert_eq!(decide(1, &[Hopeless, Open], &free(2)), Decision::Open);
        assert_eq!(decide(1, &[Hopeless, Hopeless], &free(2)), Decision::Never);
        assert_eq!(decide(2, &[Ready, Hopeless, Ready], &free(3)), Decision::Enough);
        assert_eq!(decide(2, &[Ready, Hopeless, Open], &free(3)), Decision::Open);
        assert_eq!(decide(0, &[], &[]), Decision::Enough);
    }

    #[test]
    fn what_waits_for_the_hopeless_is_hopeless() {
        let chain = vec![vec![1], vec![2], vec![]];
        assert_eq!(decide(1, &[Open, Open, Hopeless], &chain), Decision::Never);
        assert_eq!(decide(1, &[Open, Ready, Hopeless], &chain), Decision::Enough);
        assert_eq!(decide(2, &[Open, Ready, Hopeless], &chain), Decision::Open);
    }
}
