//! Ways to damage a file.

/// Mutation `number` of one of the valid files: one to four changes, a pure function of the files and the number.
///
/// # Panics
/// If there is no file.
pub fn mutated(valid: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let mut file = valid[random.below(valid.len())].clone();
    for _ in 0..=random.below(4) {
        damage(&mut file, valid, &mut random);
    }
    file
}

/// Numbers that are likely to break readers as a length, count or offset.
const AWKWARD: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, u64::MAX];

fn damage(file: &mut Vec<u8>, valid: &[Vec<u8>], random: &mut Random) {
    if file.is_empty() {
        file.push(random.next() as u8);
        return;
    }
    let at = random.offset(file.len());
    let run = at..(at + 1 + random.below(64)).min(file.len());
    match random.below(9) {
        0 => file[at] ^= 1 << random.below(8),
        1 => file[at] = random.next() as u8,
        2 => file.truncate(at),
        3 => drop(file.drain(run)),
        4 => {
            let again = file[run].to_vec();
            file.splice(at..at, again);
        }
        5 => {
            let zeros = vec![0; 1 + random.below(64)];
            file.splice(at..at, zeros);
        }
        6 => file[run].fill(0),
        7 => {
            let awkward = AWKWARD[random.below(AWKWARD.len())];
            let width = [1, 2, 4, 8][random.below(4)].min(file.len() - at);
            let bytes = if random.below(2) == 0 {
                awkward.to_le_bytes()[..width].to_vec()
            } else {
                awkward.to_be_bytes()[8 - width..].to_vec()
            };
            file.splice(at..at + width, bytes);
        }
        _ => {
            let other = &valid[random.below(valid.len())];
            let from = random.below(other.len().max(1)).min(other.len());
            file.splice(at.., other[from..].iter().copied());
        }
    }
}

/// SplitMix64 (Steele et al. 2014): good enough for this, and the same on every platform.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// An offset in a file of `n` bytes: half of the time near the beginning or the end, where headers and tables are.
    fn offset(&mut self, n: usize) -> usize {
        match self.below(4) {
            0 => self.below(n.min(128)),
            1 => n - 1 - self.below(n.min(128)),
            _ => self.below(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_depends_only_on_its_number_and_changes_the_file() {
        let valid = [(0..=255).collect::<Vec<u8>>(), vec![7; 300]];
        let all: Vec<_> = (0..200).map(|number| mutated(&valid, number)).collect();
        assert_eq!(all[17], mutated(&valid, 17));
        let damaged = all.iter().filter(|file| !valid.contains(file)).count();
        assert!(damaged > 190, "{damaged} of 200");
        assert!(all.iter().any(|file| file.len() < 100) && all.iter().any(|file| file.len() > 300));
    }

    #[test]
    fn an_empty_file_can_be_mutated() {
        assert!((0..50).all(|number| mutated(&[vec![]], number).len() < 600));
    }
}
