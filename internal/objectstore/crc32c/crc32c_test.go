package crc32c_test

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"exportd/internal/objectstore/crc32c"
)

func TestCombineEqualsDirectChecksum(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 7, 8, 9, 255, 4096, 1<<20 + 3} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		for range 20 {
			cut := rng.IntN(size + 1)
			a, b := data[:cut], data[cut:]
			got := crc32c.Combine(crc32c.Update(0, a), crc32c.Update(0, b), int64(len(b)))
			if want := crc32.Checksum(data, crc32c.Table); got != want {
				t.Fatalf("Combine(%d bytes cut at %d) = %08x, want %08x", size, cut, got, want)
			}
			got = crc32c.CombineIEEE(crc32.ChecksumIEEE(a), crc32.ChecksumIEEE(b), int64(len(b)))
			if want := crc32.ChecksumIEEE(data); got != want {
				t.Fatalf("CombineIEEE(%d bytes cut at %d) = %08x, want %08x", size, cut, got, want)
			}
		}
	}
}

func FuzzCombine(f *testing.F) {
	f.Add([]byte("a"), []byte(""))
	f.Add([]byte(""), []byte("123456789"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got := crc32c.Combine(crc32c.Update(0, a), crc32c.Update(0, b), int64(len(b)))
		if want := crc32c.Update(crc32c.Update(0, a), b); got != want {
			t.Fatalf("Combine(%q, %q) = %08x, want %08x", a, b, got, want)
		}
	})
}

func BenchmarkCombine(b *testing.B) {
	for b.Loop() {
		crc32c.Combine(0x12345678, 0x9abcdef0, 1<<30)
	}
}
