package jobstest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"exportd/jobs"
)

// ObjectStore is all that a store of objects is to workers and servers.
type ObjectStore interface {
	jobs.ObjectStore
	jobs.ObjectSweeper
	jobs.ObjectPurger
	jobs.ObjectProver
	jobs.ObjectLinker
	jobs.ObjectReader
}

// ObjectConfig is what a store of objects is to be opened with.
type ObjectConfig struct {
	NoBucket bool
	// ChunkBytes is the size of an upload request, for stores that have them: most objects of the suite are
	// written in several.
	ChunkBytes int
}

// Bucket is an opened store, and how its links are followed.
type Bucket struct {
	ObjectStore
	HTTP *http.Client
}

type objectCase struct {
	name string
	cfg  ObjectConfig
	run  func(t *testing.T, b *Bucket)
}

var writeCases = []objectCase{
	{name: "an object is what was written", run: written},
	{name: "an object has any name", run: anyName},
	{name: "a writer keeps nothing of its caller's buffer", run: buffers},
	{name: "an object begins to exist when it is whole", run: notInPart},
	{name: "what is aborted was never there", run: aborted},
	{name: "the end of the caller's context ends the object", run: objectContext},
	{name: "a killed writer leaves its name free", run: killedWriter},
	{name: "a writer that has ended takes no more", run: endedWriter},
	{name: "no object is overwritten", run: notOverwritten},
	{name: "the same bytes again are the same object, or refused", run: writtenAgain},
	{name: "of those who write one name at once, one has written", run: writersAtOnce},
	{name: "objects are written side by side", run: sideBySide},
	{name: "a name written anew is another generation", run: generations},
	{name: "without a bucket nothing is written, and the failure says so", cfg: ObjectConfig{NoBucket: true}, run: noBucketToWrite},
}

// ObjectSuite runs every case on an empty bucket of its own, which open gives.
func ObjectSuite(t *testing.T, open func(t *testing.T, c ObjectConfig) *Bucket) {
	t.Helper()
	n := 0
	for _, group := range [][]objectCase{writeCases, composeCases, sweepCases, linkCases} {
		for _, c := range group {
			n++
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.cfg.ChunkBytes = objectChunk
				c.run(t, open(t, c.cfg))
			})
		}
	}
	t.Logf("%d cases", n)
}

// objectChunk is the smallest that Cloud Storage takes.
const objectChunk = 256 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

func random(seed uint64, n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(p)
	return p
}

var plainText = jobs.ObjectAttrs{ContentType: "text/csv; charset=utf-8"}

// write writes in pieces that fit no chunk.
func (b *Bucket) write(ctx context.Context, name string, data []byte) (jobs.Object, error) {
	w := b.Create(ctx, name, plainText)
	defer w.Abort()
	for piece := range slices.Chunk(data, 100_003) {
		if n, err := w.Write(piece); err != nil || n != len(piece) {
			return jobs.Object{}, fmt.Errorf("write %d of %d bytes: %w", n, len(piece), cmp.Or(err, io.ErrShortWrite))
		}
	}
	return w.Commit(ctx)
}

func (b *Bucket) put(t *testing.T, name string, data []byte) jobs.Object {
	t.Helper()
	o, err := b.write(t.Context(), name, data)
	if err != nil {
		t.Fatalf("write %s = %v", name, err)
	}
	return o
}

func (b *Bucket) read(t *testing.T, name string, offset int64) []byte {
	t.Helper()
	r, err := b.NewReader(t.Context(), name, offset)
	if err != nil {
		t.Fatalf("NewReader(%s, %d) = %v", name, offset, err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read %s = %v", name, err)
	}
	return data
}

// list gives what there is below a prefix.
func (b *Bucket) list(t *testing.T, prefix string) (all []jobs.Object) {
	t.Helper()
	for o, err := range b.List(context.WithoutCancel(t.Context()), prefix) {
		if err != nil {
			t.Fatalf("List(%q) = %v", prefix, err)
		}
		all = append(all, o)
	}
	return all
}

func (b *Bucket) names(t *testing.T, prefix string) (names []string) {
	t.Helper()
	for _, o := range b.list(t, prefix) {
		names = append(names, o.Name)
	}
	return names
}

// missing wants that there is no such object.
func (b *Bucket) missing(t *testing.T, name string) {
	t.Helper()
	if r, err := b.NewReader(t.Context(), name, 0); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("NewReader of %s, which should not be there, = %v, %v", name, r, err)
	}
}

func written(t *testing.T, b *Bucket) {
	for i, size := range []int{0, 1, 1000, objectChunk, 1 << 20, 1<<20 + 1, 5<<20 + 17} {
		name, data := fmt.Sprintf("exports/org/job/1/%d.csv", size), random(uint64(i), size)
		got := b.put(t, name, data)
		if got.Name != name || got.Size != int64(size) || got.CRC32C != checksum(data) || got.Generation == 0 || got.Created.IsZero() {
			t.Errorf("Commit of %d bytes = %+v", size, got)
		}
		if all := b.list(t, name); len(all) != 1 || all[0] != got {
			t.Errorf("List = %+v, want %+v", all, got)
		}
		for _, offset := range []int{0, size / 2} {
			if back := b.read(t, name, int64(offset)); !bytes.Equal(back, data[offset:]) {
				t.Errorf("read %d of %d bytes from %d, and not the right ones", len(back), size, offset)
			}
		}
	}
	b.missing(t, "exports/org/job/1/2.csv")
}

func anyName(t *testing.T, b *Bucket) {
	for i, name := range []string{"a", "exports/o/j/1/vip users.csv", "exports/ü/日本.csv", "exports/a?b#c%2Fd+e&f=g.csv", "exports//x", "a/", "exports/'\"<>*.csv"} {
		data := random(uint64(i), 100)
		if got := b.put(t, name, data); got.Name != name || !bytes.Equal(b.read(t, name, 0), data) {
			t.Errorf("object %q is called %q, or has other bytes", name, got.Name)
		}
		if !slices.Contains(b.names(t, name), name) {
			t.Errorf("List(%q) does not name it", name)
		}
		if err := b.Delete(t.Context(), name); err != nil {
			t.Errorf("Delete(%q) = %v", name, err)
		}
		b.missing(t, name)
	}
}

func buffers(t *testing.T, b *Bucket) {
	w := b.Create(t.Context(), "a", plainText)
	defer w.Abort()
	var want []byte
	buf := make([]byte, 64<<10)
	for i := range 24 { // over a megabyte
		copy(buf, random(uint64(i), len(buf)))
		want = append(want, buf...)
		if _, err := w.Write(buf); err != nil {
			t.Fatal(err)
		}
		clear(buf)
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.read(t, "a", 0), want) {
		t.Error("the object has what the buffer had later")
	}
}

func notInPart(t *testing.T, b *Bucket) {
	w := b.Create(t.Context(), "a", plainText)
	defer w.Abort()
	for range 3 {
		if _, err := w.Write(random(1, 1<<20)); err != nil {
			t.Fatal(err)
		}
		b.missing(t, "a")
		if names := b.names(t, ""); len(names) > 0 {
			t.Errorf("before Commit there is %v", names)
		}
	}
	if o, err := w.Commit(t.Context()); err != nil || o.Size != 3<<20 {
		t.Errorf("Commit = %+v, %v", o, err)
	}
	w.Abort() // does nothing
	if got := b.read(t, "a", 0); len(got) != 3<<20 {
		t.Errorf("after Abort behind Commit there are %d bytes", len(got))
	}
}

func aborted(t *testing.T, b *Bucket) {
	for _, size := range []int{0, 10, 3 << 20} {
		w := b.Create(t.Context(), "a", plainText)
		if _, err := w.Write(random(3, size)); err != nil {
			t.Fatal(err)
		}
		w.Abort()
		w.Abort()
		if names := b.names(t, ""); len(names) > 0 {
			t.Errorf("after Abort there is %v", names)
		}
	}
	b.put(t, "a", []byte("x")) // its name is free
}

func objectContext(t *testing.T, b *Bucket) {
	for _, size := range []int{10, 3 << 20} {
		ctx, cancel := context.WithCancelCause(t.Context())
		w := b.Create(ctx, "a", plainText)
		if _, err := w.Write(random(3, size)); err != nil {
			t.Fatal(err)
		}
		cancel(jobs.ErrInterrupted)
		if _, err := w.Commit(t.Context()); !errors.Is(err, jobs.ErrInterrupted) {
			t.Errorf("Commit after the context ended = %v, want the cause", err)
		}
		w = b.Create(t.Context(), "a", plainText)
		if _, err := w.Write(random(3, size)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(ctx); !errors.Is(err, jobs.ErrInterrupted) {
			t.Errorf("Commit by a context that has ended = %v, want the cause", err)
		}
		w.Abort()
	}
	if names := b.names(t, ""); len(names) > 0 {
		t.Errorf("after that there is %v", names)
	}
}

// killedWriter: a process died in the middle of an upload. Whoever is next writes the whole object.
func killedWriter(t *testing.T, b *Bucket) {
	ctx, kill := context.WithCancel(t.Context())
	w := b.Create(ctx, "a", plainText)
	defer w.Abort()
	if _, err := w.Write(random(1, 3<<20)); err != nil {
		t.Fatal(err)
	}
	kill()
	data := random(2, 3<<20)
	b.put(t, "a", data)
	if !bytes.Equal(b.read(t, "a", 0), data) {
		t.Error("the object has bytes of the killed writer")
	}
}

func endedWriter(t *testing.T, b *Bucket) {
	for name, end := range map[string]func(w jobs.ObjectWriter) error{
		"Commit": func(w jobs.ObjectWriter) error { _, err := w.Commit(t.Context()); return err },
		"Abort":  func(w jobs.ObjectWriter) error { w.Abort(); return nil },
	} {
		w := b.Create(t.Context(), name, plainText)
		if err := end(w); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Errorf("Write after %s = nil", name)
		}
		if _, err := w.Commit(t.Context()); err == nil {
			t.Errorf("Commit after %s = nil", name)
		}
	}
	if got := b.list(t, ""); len(got) != 1 || got[0].Size != 0 {
		t.Errorf("there is %+v, want the empty object that was committed", got)
	}
}

func notOverwritten(t *testing.T, b *Bucket) {
	for _, size := range []int{3, 3 << 20} {
		name := fmt.Sprint(size)
		first, data := b.put(t, name, random(1, size)), random(1, size)
		if _, err := b.write(t.Context(), name, random(2, size)); !errors.Is(err, jobs.ErrExists) {
			t.Errorf("second write of %d bytes = %v, want ErrExists", size, err)
		}
		if got := b.list(t, name); len(got) != 1 || got[0] != first || !bytes.Equal(b.read(t, name, 0), data) {
			t.Errorf("after it there is %+v, want %+v", got, first)
		}
	}
}

// writtenAgain: the answer to a write was lost on the way, and it is made again.
func writtenAgain(t *testing.T, b *Bucket) {
	for _, size := range []int{3, 3 << 20} {
		name := fmt.Sprint(size)
		first := b.put(t, name, random(1, size))
		again, err := b.write(t.Context(), name, random(1, size))
		if err == nil && again != first || err != nil && !errors.Is(err, jobs.ErrExists) {
			t.Errorf("the same %d bytes again = %+v, %v, want %+v or ErrExists", size, again, err, first)
		}
		if got := b.list(t, name); len(got) != 1 || got[0] != first {
			t.Errorf("after it there is %+v, want %+v", got, first)
		}
	}
}

func writersAtOnce(t *testing.T, b *Bucket) {
	if won := race(t, 6, jobs.ErrExists, func(i int) error {
		_, err := b.write(t.Context(), "a", random(uint64(i), 1<<20+i))
		return err
	}); won != 1 {
		t.Errorf("%d writers have written one object", won)
	}
	got := b.list(t, "")
	if len(got) != 1 || !bytes.Equal(b.read(t, "a", 0), random(uint64(got[0].Size-1<<20), int(got[0].Size))) {
		t.Errorf("there is %+v, or it has bytes of more than one", got)
	}
}

func sideBySide(t *testing.T, b *Bucket) {
	const n = 8
	if done := race(t, n, nil, func(i int) error {
		_, err := b.write(t.Context(), fmt.Sprint(i), random(uint64(i), i<<18))
		return err
	}); done != n {
		t.Errorf("%d of %d are written", done, n)
	}
	for i := range n {
		if !bytes.Equal(b.read(t, fmt.Sprint(i), 0), random(uint64(i), i<<18)) {
			t.Errorf("object %d has bytes of another", i)
		}
	}
}

func generations(t *testing.T, b *Bucket) {
	first := b.put(t, "a", []byte("x"))
	if err := b.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if again := b.put(t, "a", []byte("x")); again.Generation == first.Generation {
		t.Errorf("generation %d again", first.Generation)
	}
}

// bucketMissing wants the failure that tells operators what to mend.
func bucketMissing(t *testing.T, op string, err error) {
	t.Helper()
	if f := jobs.AsFailure(err); !errors.Is(err, jobs.ErrNoBucket) || !errors.Is(err, jobs.ErrNotFound) || f.Code != jobs.CodeBucketMissing || f.Class != jobs.Transient {
		t.Errorf("%s without a bucket = %v (%v)", op, err, f.Code)
	}
}

func noBucketToWrite(t *testing.T, b *Bucket) {
	for _, size := range []int{0, 10, 3 << 20} {
		_, err := b.write(t.Context(), "a", random(1, size))
		bucketMissing(t, fmt.Sprintf("write of %d bytes", size), err)
	}
	for _, n := range []int{1, 33} {
		_, err := b.Compose(t.Context(), "b", slices.Repeat([]string{"a"}, n), plainText, 1, 1)
		bucketMissing(t, fmt.Sprintf("Compose of %d", n), err)
	}
	_, err := b.Holds(t.Context(), "a", 1, 1)
	if !errors.Is(err, jobs.ErrNoBucket) {
		t.Errorf("Holds without a bucket = %v", err)
	}
	for o, err := range b.List(t.Context(), "a") {
		if !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("List without a bucket = %+v, %v", o, err)
		}
	}
	if err := b.Delete(t.Context(), "a"); err != nil {
		t.Errorf("Delete without a bucket = %v: what is to be gone is gone", err)
	}
	if link, err := b.SignedURL(t.Context(), "a", time.Minute, ""); err != nil || link == "" {
		t.Errorf("SignedURL without a bucket = %q, %v: it does not look", link, err)
	}
}
