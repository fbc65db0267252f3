package jobstest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"exportd/jobs"
)

var composeCases = []objectCase{
	{name: "parts are laid end to end, however many", run: composed},
	{name: "the file outlives its parts", run: outlives},
	{name: "composing again after a crash gives the same object", run: composedAgain},
	{name: "what a killed composing left is no matter, and goes", run: leftovers},
	{name: "those who compose at once have one object", run: composersAtOnce},
	{name: "parts written side by side are composed in order", run: partsAtOnce},
	{name: "a file with another checksum or size is removed, its parts stay", run: composedWrong},
	{name: "what is there is not composed over", run: composedOver},
	{name: "a missing part is no file", run: missingPart},
	{name: "a crash between parts leaves a job that another worker ends", run: crashBetween},
	{name: "composed objects are composed", run: twice},
	{name: "of no parts there is no file", run: noParts},
}

// parts writes n parts, of a few bytes each, and gives what they are laid end to end.
func (b *Bucket) parts(t *testing.T, dir string, n int) (names []string, file []byte) {
	t.Helper()
	// Sources may be named more than once, which makes a deep tree of few objects.
	few := min(n, 40)
	race(t, few, nil, func(i int) error {
		_, err := b.write(t.Context(), fmt.Sprintf("%s/part-%05d", dir, i), random(uint64(i), 50+i))
		return err
	})
	for i := range n {
		names = append(names, fmt.Sprintf("%s/part-%05d", dir, i%few))
		file = append(file, random(uint64(i%few), 50+i%few)...)
	}
	return names, file
}

func (b *Bucket) compose(t *testing.T, dst string, names []string, want []byte) jobs.Object {
	t.Helper()
	o, err := b.Compose(t.Context(), dst, names, plainText, int64(len(want)), checksum(want))
	if err != nil {
		t.Fatalf("Compose of %d parts = %v", len(names), err)
	}
	return o
}

// wantOnly wants the parts, the file and nothing else below dir.
func (b *Bucket) wantOnly(t *testing.T, dir string, want ...string) {
	t.Helper()
	left := slices.DeleteFunc(b.names(t, dir), func(name string) bool { return strings.Contains(name, "/part-") })
	if !slices.Equal(left, want) {
		t.Errorf("besides parts there are %q, want %q", left, want)
	}
}

func composed(t *testing.T, b *Bucket) {
	for _, n := range []int{1, 2, 32, 33, 65, 1057} { // 32 is what Cloud Storage composes at once
		dir := fmt.Sprintf("c%d", n)
		names, want := b.parts(t, dir, n)
		o := b.compose(t, dir+"/final.csv", names, want)
		if o.Name != dir+"/final.csv" || o.Size != int64(len(want)) || o.CRC32C != checksum(want) || o.Generation == 0 {
			t.Errorf("Compose of %d parts = %+v", n, o)
		}
		if !bytes.Equal(b.read(t, o.Name, 0), want) {
			t.Errorf("the file of %d parts has other bytes", n)
		}
		b.wantFile(t, b.link(t, o.Name, "f.csv"), want, "f.csv") // with the file's attributes
		b.wantOnly(t, dir, o.Name)
	}
}

func outlives(t *testing.T, b *Bucket) {
	names, want := b.parts(t, "c", 34)
	b.compose(t, "c/final.csv", names, want)
	if n, err := b.DeletePrefix(t.Context(), "c/part-"); n != 34 || err != nil {
		t.Errorf("DeletePrefix = %d, %v", n, err)
	}
	if !bytes.Equal(b.read(t, "c/final.csv", 0), want) {
		t.Error("the file has other bytes once its parts are deleted")
	}
	// And what is asked again after that has its answer in the file.
	b.compose(t, "c/final.csv", names, want)
}

func composedAgain(t *testing.T, b *Bucket) {
	for _, n := range []int{3, 40} {
		dir := fmt.Sprintf("c%d", n)
		names, want := b.parts(t, dir, n)
		first := b.compose(t, dir+"/final.csv", names, want)
		for range 2 {
			if again := b.compose(t, dir+"/final.csv", names, want); again != first {
				t.Errorf("Compose again = %+v, want %+v", again, first)
			}
		}
	}
}

func leftovers(t *testing.T, b *Bucket) {
	names, want := b.parts(t, "c", 65)
	for _, left := range []string{"1-00000", "1-00001", "9-00000"} {
		b.put(t, "c/final.csv.compose/"+left, []byte("of a composing that was killed"))
	}
	b.compose(t, "c/final.csv", names, want)
	if !bytes.Equal(b.read(t, "c/final.csv", 0), want) {
		t.Error("the file has bytes of what was left")
	}
	b.wantOnly(t, "c", "c/final.csv")
}

// composersAtOnce: a worker whose lease ran out, and the one that took over.
func composersAtOnce(t *testing.T, b *Bucket) {
	for n, composers := range map[int]int{3: 4, 32: 4, 65: 2} {
		dir := fmt.Sprintf("c%d", n)
		names, want := b.parts(t, dir, n)
		var mu sync.Mutex
		seen := map[jobs.Object]bool{}
		race(t, composers, nil, func(int) error {
			o, err := b.Compose(t.Context(), dir+"/final.csv", names, plainText, int64(len(want)), checksum(want))
			mu.Lock()
			defer mu.Unlock()
			seen[o] = true
			return err
		})
		if len(seen) != 1 || !bytes.Equal(b.read(t, dir+"/final.csv", 0), want) {
			t.Errorf("%d parts composed at once are %v", n, seen)
		}
	}
}

func partsAtOnce(t *testing.T, b *Bucket) {
	const n = 6
	names := make([]string, n)
	objects := make([]jobs.Object, n)
	var want []byte
	for i := range n {
		names[i] = fmt.Sprintf("c/part-%d", i)
		want = append(want, random(uint64(i), 400_000+i)...)
	}
	race(t, n, nil, func(i int) (err error) {
		objects[i], err = b.write(t.Context(), names[i], random(uint64(i), 400_000+i))
		return err
	})
	for i, o := range objects {
		if o.Size != int64(400_000+i) || o.CRC32C != checksum(random(uint64(i), 400_000+i)) {
			t.Errorf("part %d = %+v", i, o)
		}
	}
	b.compose(t, "c/final.csv", names, want)
	if !bytes.Equal(b.read(t, "c/final.csv", 0), want) {
		t.Error("the file has other bytes")
	}
}

func composedWrong(t *testing.T, b *Bucket) {
	for _, n := range []int{2, 33} {
		dir := fmt.Sprintf("c%d", n)
		names, want := b.parts(t, dir, n)
		for what, tc := range map[string]struct {
			size int64
			crc  uint32
		}{"checksum": {int64(len(want)), checksum(want) + 1}, "size": {int64(len(want)) + 1, checksum(want)}} {
			_, err := b.Compose(t.Context(), dir+"/final.csv", names, plainText, tc.size, tc.crc)
			if f := jobs.AsFailure(err); f.Code != jobs.CodeStorageCorrupt || f.Class != jobs.Transient {
				t.Errorf("Compose of %d parts with another %s = %v (%v)", n, what, err, f.Code)
			}
			b.missing(t, dir+"/final.csv")
		}
		if got := b.names(t, dir+"/part-"); len(got) != n {
			t.Errorf("%d of %d parts are left", len(got), n)
		}
		b.compose(t, dir+"/final.csv", names, want) // the right ones still can be
		b.wantOnly(t, dir, dir+"/final.csv")
	}
}

func composedOver(t *testing.T, b *Bucket) {
	names, want := b.parts(t, "c", 3)
	other := b.put(t, "c/final.csv", []byte("other"))
	if _, err := b.Compose(t.Context(), "c/final.csv", names, plainText, int64(len(want)), checksum(want)); !errors.Is(err, jobs.ErrExists) {
		t.Errorf("Compose over another object = %v, want ErrExists", err)
	}
	if got := b.list(t, "c/final.csv"); len(got) != 1 || got[0] != other {
		t.Errorf("there is %+v, want %+v", got, other)
	}
}

func missingPart(t *testing.T, b *Bucket) {
	for _, n := range []int{1, 3, 33} {
		dir := fmt.Sprintf("c%d", n)
		names, want := b.parts(t, dir, n)
		if err := b.Delete(t.Context(), names[n-1]); err != nil {
			t.Fatal(err)
		}
		_, err := b.Compose(t.Context(), dir+"/final.csv", names, plainText, int64(len(want)), checksum(want))
		if !errors.Is(err, jobs.ErrNotFound) || errors.Is(err, jobs.ErrNoBucket) {
			t.Errorf("Compose of %d parts whose last is missing = %v, want ErrNotFound of an object", n, err)
		}
		b.missing(t, dir+"/final.csv")
	}
}

// crashBetween: a worker dies with one part written, one under way and one not begun. The next writes what is
// missing under names of its own, composes, and sweeps what is no part of the file.
func crashBetween(t *testing.T, b *Bucket) {
	pieces := [][]byte{random(1, 1000), random(2, 3<<20), random(3, 1000)}
	b.put(t, "c/1/part-0", pieces[0])
	dead := b.Create(t.Context(), "c/1/part-1", plainText)
	if _, err := dead.Write(pieces[1][:2<<20]); err != nil {
		t.Fatal(err)
	}
	b.put(t, "c/2/part-1", pieces[1])
	b.put(t, "c/2/part-2", pieces[2])
	names, want := []string{"c/1/part-0", "c/2/part-1", "c/2/part-2"}, slices.Concat(pieces...)
	b.compose(t, "c/2/final.csv", names, want)
	dead.Abort()
	if !bytes.Equal(b.read(t, "c/2/final.csv", 0), want) {
		t.Error("the file has other bytes")
	}
	if got := b.names(t, "c/1/"); !slices.Equal(got, []string{"c/1/part-0"}) {
		t.Errorf("of the dead worker there is %v", got)
	}
}

func twice(t *testing.T, b *Bucket) {
	names, want := b.parts(t, "c", 3)
	b.compose(t, "c/half.csv", names, want)
	b.compose(t, "c/final.csv", []string{"c/half.csv", "c/part-00000", "c/half.csv"}, slices.Concat(want, random(0, 50), want))
}

func noParts(t *testing.T, b *Bucket) {
	if _, err := b.Compose(t.Context(), "c/final.csv", nil, plainText, 0, 0); err == nil {
		t.Error("Compose of nothing = nil")
	}
	b.missing(t, "c/final.csv")
}
