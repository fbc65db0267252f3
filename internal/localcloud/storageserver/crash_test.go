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

// What was acknowledged is whole after kill -9 at any moment; what was not is absent or whole; and there
// is no other file.
func TestKill9KeepsAcknowledgedObjectsWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	contents := func(id int) []byte { return random(uint64(id), []int{0, 100, 70_000, 900_000}[id%4]) }
	var mu sync.Mutex
	acked, deleted := map[int]bool{}, map[int]bool{}
	next := 0
	for round := range 8 {
		url, kill := startVictim(t, dir)
		b := connect(t, url).Bucket("exports").Retryer(storage.WithPolicy(storage.RetryNever))
		if err := b.Create(t.Context(), "local", nil); err != nil && round == 0 {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		some := make(chan struct{}, 100)
		for range 4 {
			workers.Go(func() {
				for ctx.Err() == nil {
					mu.Lock()
					id := next
					next++
					mu.Unlock()
					o := b.Object(strconv.Itoa(id))
					w := o.NewWriter(ctx)
					w.ChunkSize = 256 << 10
					_, _ = w.Write(contents(id)) // the error shows in Close
					if w.Close() != nil {
						return
					}
					mu.Lock()
					acked[id] = true
					mu.Unlock()
					if id%5 == 0 && o.Delete(ctx) == nil {
						mu.Lock()
						deleted[id] = true
						mu.Unlock()
					}
					some <- struct{}{}
				}
			})
		}
		for range 15 + round { // then in the middle of whatever goes on
			<-some
		}
		kill()
		cancel()
		drained := make(chan struct{})
		go func() { workers.Wait(); close(drained) }()
		for waiting := true; waiting; {
			select {
			case <-some:
			case <-drained:
				waiting = false
			}
		}
	}
	url, stop := start(t, dir)
	b := connect(t, url).Bucket("exports")
	listed := map[string]bool{}
	for _, name := range list(t, b, storage.Query{}, 0) {
		listed[name] = true
	}
	files := 0
	for id := range next {
		o := b.Object(strconv.Itoa(id))
		a, err := o.Attrs(t.Context())
		exists := err == nil
		if err != nil && !errors.Is(err, storage.ErrObjectNotExist) {
			t.Fatal(err)
		}
		if exists != listed[o.ObjectName()] || exists && deleted[id] || !exists && acked[id] && id%5 != 0 {
			t.Errorf("object %d: exists %v, listed %v, acknowledged %v, deleted %v", id, exists, listed[o.ObjectName()], acked[id], deleted[id])
		}
		if exists && !bytes.Equal(read(t, o), contents(id)) {
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
	if extra := len(stored) - files; extra < 0 || extra > 8*4 {
		t.Errorf("%d files for %d objects", len(stored), files)
	}
	t.Logf("%d objects acknowledged in 8 rounds, %d deleted, %d files", len(acked), len(deleted), len(stored))
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
