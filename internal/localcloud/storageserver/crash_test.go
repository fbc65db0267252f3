package storageserver_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/storage"

	"exportd/internal/localcloud/storageserver"
)

// serveEnv makes the test binary a server on the folder it names, to be killed.
const serveEnv = "STORAGESERVER_TEST_DIR"

func serveAndBeKilled(dir string) error {
	s, err := storageserver.Open(storageserver.Options{Dir: dir})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	return http.Serve(listener, s.Handler()) //nolint:gosec // no timeouts: the process is killed
}

func startVictim(t testing.TB, dir string) (url string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), func() {
		_ = cmd.Process.Kill() // SIGKILL
		_ = cmd.Wait()         // says that it was killed
	}
}

// ledger is what clients know about the objects of the test, whose names are numbers.
type ledger struct {
	mu             sync.Mutex
	next           int
	acked, deleted map[int]bool
}

func (l *ledger) id() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next - 1
}

func (l *ledger) note(m map[int]bool, id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m[id] = true
}

func (l *ledger) contents(id int) []byte {
	return random(uint64(id), []int{0, 100, 70_000, 900_000}[id%4])
}

// work writes objects, and deletes every fifth, until the server is gone. It reports each on done.
func (l *ledger) work(ctx context.Context, b *storage.BucketHandle, done chan<- struct{}) {
	for {
		id := l.id()
		o := b.Object(strconv.Itoa(id))
		w := o.NewWriter(ctx)
		w.ChunkSize = 256 << 10
		_, _ = w.Write(l.contents(id)) // the error shows in Close
		if w.Close() != nil {
			return
		}
		l.note(l.acked, id)
		if id%5 == 0 && o.Delete(ctx) == nil {
			l.note(l.deleted, id)
		}
		done <- struct{}{}
	}
}

// round kills a server after some objects, in the middle of whatever goes on.
func (l *ledger) round(t *testing.T, dir string, objects int) {
	t.Helper()
	url, kill := startVictim(t, dir)
	b := connect(t, url).Bucket("exports").Retryer(storage.WithPolicy(storage.RetryNever))
	if err := b.Create(t.Context(), "local", nil); err != nil && code(err) != http.StatusConflict {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var workers sync.WaitGroup
	done, ended := make(chan struct{}), make(chan struct{})
	for range 4 {
		workers.Go(func() { l.work(ctx, b, done) })
	}
	go func() {
		workers.Wait()
		close(ended)
	}()
	for {
		select {
		case <-done:
			if objects--; objects == 0 {
				kill()
				cancel() // the client would try a chunk for half a minute more
			}
		case <-ended:
			return
		}
	}
}

// What was acknowledged is whole after kill -9 at any moment; what was not is absent or whole; and there is
// no other file.
func TestKill9KeepsAcknowledgedObjectsWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := &ledger{acked: map[int]bool{}, deleted: map[int]bool{}}
	const rounds = 8
	for round := range rounds {
		l.round(t, dir, 15+round)
	}
	url, stop := start(t, dir)
	b := connect(t, url).Bucket("exports")
	listed := list(t, b, storage.Query{}, 0)
	files := 0
	for id := range l.next {
		o := b.Object(strconv.Itoa(id))
		a, err := o.Attrs(t.Context())
		exists := err == nil
		if err != nil && !errors.Is(err, storage.ErrObjectNotExist) {
			t.Fatal(err)
		}
		if exists != slices.Contains(listed, o.ObjectName()) || exists && l.deleted[id] || !exists && l.acked[id] && id%5 != 0 {
			t.Errorf("object %d: exists %v, acknowledged %v, deleted %v", id, exists, l.acked[id], l.deleted[id])
		}
		if exists && !bytes.Equal(read(t, o), l.contents(id)) {
			t.Errorf("object %d is not whole", id)
		}
		if exists && a.Size > 32<<10 { // smaller ones are in the index
			files++
		}
	}
	stop()
	stored, err := filepath.Glob(filepath.Join(dir, "objects", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	// Uploads that may still be resumed keep their files; there were at most four at each kill.
	if extra := len(stored) - files; extra < 0 || extra > rounds*4 {
		t.Errorf("%d files for %d objects", len(stored), files)
	}
	t.Logf("%d objects acknowledged in %d rounds, %d deleted, %d files", len(l.acked), rounds, len(l.deleted), len(stored))
}

func TestOpenLocksTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir)
	if s, err := storageserver.Open(storageserver.Options{Dir: dir}); err == nil {
		t.Error("two servers on one folder", s.Close())
	}
	info, err := os.Stat(filepath.Join(dir, "signing-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("signing key = %v, %v, want mode 0600", info, err)
	}
}

func TestSignedURLSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url, stop := start(t, dir)
	b := connect(t, url).Bucket("exports")
	if err := b.Create(t.Context(), "local", nil); err != nil {
		t.Fatal(err)
	}
	put(t, b.Object("a"), []byte("a"), 0)
	signed := sign(t, url, b, "a")
	stop()
	again, _ := start(t, dir)
	if res, body := fetch(t, "GET", strings.Replace(signed, url, again, 1)); res.StatusCode != 200 {
		t.Errorf("signed URL after a restart = %d %s", res.StatusCode, body)
	}
}

func BenchmarkUpload(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 64 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			_, bucket := newBucket(b)
			data := random(1, size)
			b.SetBytes(int64(size))
			started := time.Now()
			for i := 0; b.Loop(); i++ {
				put(b, bucket.Object(strconv.Itoa(i)), data, min(8<<20, size+1))
			}
			b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), "objects/s")
		})
	}
}
