package demo

import (
	"hash/fnv"
	"math/bits"
)

// draw is a stream of pseudo-random numbers (SplitMix64). It is written out here, and not taken from
// math/rand, so that no change of a library can change documents that are already loaded somewhere.
type draw struct{ state uint64 }

// newDraw starts the stream of one row: rows are independent of each other, so any row can be made without
// those before it.
func newDraw(seed uint64, stream string, index int) draw {
	name := fnv.New64a()
	_, _ = name.Write([]byte(stream)) // a hash never fails to write
	return draw{mix(mix(seed^name.Sum64()) + uint64(index))}
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (d *draw) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	return mix(d.state)
}

// n returns a number in [0, limit).
func (d *draw) n(limit int) int {
	high, _ := bits.Mul64(d.next(), uint64(limit))
	return int(high)
}

// percent is true p times in a hundred.
func (d *draw) percent(p int) bool { return d.n(100) < p }

func pick[T any](d *draw, list []T) T { return list[d.n(len(list))] }

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// letters returns random letters and digits. Ten fit into one number.
func (d *draw) letters(length int) string {
	out := make([]byte, length)
	var bits uint64
	for i := range out {
		if i%10 == 0 {
			bits = d.next()
		}
		out[i] = base62[bits%62]
		bits /= 62
	}
	return string(out)
}

// digits returns random decimal digits, the first not zero.
func (d *draw) digits(length int) string {
	out := make([]byte, length)
	for i := range out {
		out[i] = byte('0' + d.n(10))
	}
	if out[0] == '0' {
		out[0] = '7'
	}
	return string(out)
}

// idLength is that of the ids Firestore's clients make.
const idLength = 20

func documentID(seed uint64, stream string, index int) string {
	d := newDraw(seed, stream, index)
	return d.letters(idLength)
}
