package export

import (
	"unicode/utf8"

	"exportd/internal/vip"
)

// Rows whose sort key is a text are cut by the characters behind the prefix that the keys share, as ids are
// (see textAxis); those of one key by their ids.

// maxKeyPrefix bounds the prefix of a cut, in bytes: Firestore compares the first 1,500 of an indexed text.
const maxKeyPrefix = 1400

// keyTextAxis numbers sort keys that are texts, in either direction.
type keyTextAxis struct {
	textAxis
	ascending bool
}

func newKeyTextAxis(prefix string, a alphabet, ascending bool) keyTextAxis {
	return keyTextAxis{textAxis{prefix: prefix, alphabet: a, digits: a.length()}, ascending}
}

// position is before the rows with the key of place n, where keys descend before those with the key that the
// place n-1 begins with: a cut lies before all rows of its key.
func (a keyTextAxis) position(n uint64) vip.Position {
	if !a.ascending {
		_, end := a.bounds()
		n = end - n
	}
	return vip.Position{Key: vip.TextKey(a.text(n))}
}

func (a keyTextAxis) indexOf(p vip.Position) uint64 {
	_, end := a.bounds()
	text, ok := vip.KeyText(p.Key)
	if !ok { // another type: before all texts, or behind them
		order, _ := vip.CompareKeys(p.Key, vip.TextKey(""))
		if (order < 0) == a.ascending {
			return 0
		}
		return end - 1
	}
	n := a.floor(text)
	if a.ascending {
		return n
	}
	if n > 0 && a.text(n) == text {
		n-- // it comes after the cut at its key
	}
	if text > a.prefix && n == end-1 {
		return 0
	}
	return end - 1 - n
}

// next goes on with the ids where all rows have the same key, else behind what their keys share by now. Where
// that is no more than before, every character is taken for cuts, and where that does not part them the rows
// of the first key are parted from the others.
func (a keyTextAxis) next(first vip.Position, count counter, rows int64) (axis, error) {
	same, err := count(vip.Range{To: behindKey(first.Key)})
	if err != nil || same == rows {
		if err != nil {
			return nil, err
		}
		return idAxisFrom(first, count, rows)
	}
	text, ok := vip.KeyText(first.Key)
	if !ok {
		return keyEnd{first.Key, a.ascending}, nil
	}
	prefix, err := a.shared(text, count, rows)
	switch {
	case err != nil:
		return nil, err
	case len(prefix) > len(a.prefix):
		return newKeyTextAxis(prefix, usual, a.ascending), nil
	case a.alphabet == alphabet(usual):
		return newKeyTextAxis(prefix, everyCharacter{}, a.ascending), nil
	}
	return keyEnd{first.Key, a.ascending}, nil
}

// shared finds the longest prefix of the first row's key that all the rows share.
func (a keyTextAxis) shared(first string, count counter, rows int64) (string, error) {
	var ends []int
	for i, r := range first {
		if end := i + utf8.RuneLen(r); r != utf8.RuneError && end > len(a.prefix) && end <= maxKeyPrefix {
			ends = append(ends, end)
		}
	}
	shared, above := 0, len(ends)+1
	for above-shared > 1 {
		mid := (shared + above) / 2
		n, err := count(vip.Range{To: a.behindPrefix(first[:ends[mid-1]])})
		if err != nil {
			return "", err
		}
		if n == rows {
			shared = mid
		} else {
			above = mid
		}
	}
	if shared == 0 {
		return a.prefix, nil
	}
	return first[:ends[shared-1]], nil
}

// behindPrefix is behind all rows whose key begins with prefix.
func (a keyTextAxis) behindPrefix(prefix string) *vip.Position {
	if a.ascending {
		return &vip.Position{Key: vip.TextKey(vip.AfterPrefix(prefix))}
	}
	return behindKey(vip.TextKey(prefix))
}

// behindKey is behind all rows with a key, in either direction.
func behindKey(key []byte) *vip.Position { return &vip.Position{Key: key, ID: vip.AfterPrefix("")} }

// keyEnd has two places: the rows with one key, and those behind them.
type keyEnd struct {
	key       []byte
	ascending bool
}

func (keyEnd) bounds() (lo, hi uint64) { return 0, 2 }

func (a keyEnd) position(uint64) vip.Position { return *behindKey(a.key) }

func (a keyEnd) indexOf(p vip.Position) uint64 {
	if sameKey(a.key, p.Key) {
		return 0
	}
	return 1
}

func (a keyEnd) next(first vip.Position, count counter, rows int64) (axis, error) {
	if sameKey(a.key, first.Key) {
		return idAxisFrom(first, count, rows)
	}
	return textKeys{a.ascending}.next(first, count, rows)
}

// textKeys is where the rows of a query that is sorted by texts begin: at one place, so that what their keys
// share is found first.
type textKeys struct{ ascending bool }

func (textKeys) bounds() (lo, hi uint64)      { return 0, 1 }
func (textKeys) position(uint64) vip.Position { return vip.Position{} } // no cut is within one place
func (textKeys) indexOf(vip.Position) uint64  { return 0 }

func (a textKeys) next(first vip.Position, count counter, rows int64) (axis, error) {
	return newKeyTextAxis("", usual, a.ascending).next(first, count, rows)
}

// everyCharacter is each character that a text may have.
type everyCharacter struct{}

func (everyCharacter) size() uint64 { return utf8.MaxRune + 1 - surrogates }
func (everyCharacter) length() int  { return 3 }
func (everyCharacter) widest() int  { return utf8.UTFMax }

func (everyCharacter) char(d uint64) rune {
	if d >= surrogateMin {
		d += surrogates
	}
	return rune(d)
}

func (everyCharacter) floor(r rune) (uint64, bool) {
	if r > surrogateMax {
		r -= surrogates
	}
	return uint64(r), true
}
