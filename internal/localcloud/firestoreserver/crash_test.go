package firestoreserver_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"exportd/internal/localcloud/firestoreserver"
)

// crashDir makes the test binary a writer that is to be killed; see TestKill.
const crashDir = "EXPORTD_TEST_CRASH_DIR"

// A process killed at any moment has kept every commit that it acknowledged, whole, and indexes that agree
// with the documents.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := 0
	for round := range 3 {
		acked = killedWriter(t, dir, acked, 40+round*80)
		f := reopen(t, dir, "")
		verifyAcked(t, f.client, acked)
		docs, err := f.server.Verify()
		if err != nil {
			t.Fatalf("Verify() = %v", err)
		}
		if docs%2 != 0 || docs < 2*acked {
			t.Errorf("%d documents after %d acknowledged pairs", docs, acked)
		}
		f.stop()
	}
}

type reopened struct {
	*fixture
	stop func()
}

// reopen is start, but can be ended before the test ends.
func reopen(t *testing.T, dir, indexes string) reopened {
	t.Helper()
	s, err := firestoreserver.Open(firestoreserver.Options{Dir: dir, IndexesJSON: []byte(indexes)})
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, client := dial(t, l.Addr().String())
	f := &fixture{server: s, addr: l.Addr().String(), conn: conn, raw: firestorepb.NewFirestoreClient(conn), client: client}
	return reopened{f, func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	}}
}

// killedWriter runs a writer from document number first, kills it after some acknowledgements, and returns
// the number of the last acknowledged pair.
func killedWriter(t *testing.T, dir string, first, after int) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], strconv.Itoa(first))
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := first
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, ok := strings.CutPrefix(lines.Text(), "ack ")
		if !ok {
			continue
		}
		if last, err = strconv.Atoi(n); err != nil {
			t.Fatal(err)
		}
		if last == first+after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if last < first+after {
		t.Fatalf("writer ended by itself after %d", last)
	}
	return last
}

func verifyAcked(t *testing.T, c *firestore.Client, acked int) {
	t.Helper()
	for n := 1; n <= acked; n++ {
		for _, side := range []string{"left", "right"} {
			snap, err := c.Collection(side).Doc(strconv.Itoa(n)).Get(t.Context())
			if err != nil {
				t.Fatalf("acknowledged document %s/%d: %v", side, n, err)
			}
			if got := snap.Data()["n"]; got != int64(n) {
				t.Fatalf("document %s/%d holds %v", side, n, got)
			}
		}
	}
}

// crashWriter commits pairs of documents, by transactions and by a Write stream in turns, and prints each
// acknowledged number.
func crashWriter(dir, first string) error {
	s, err := firestoreserver.Open(firestoreserver.Options{Dir: dir})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = s.Serve(l) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	c, err := firestore.NewClient(ctx, project, option.WithGRPCConn(conn))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	stream, _, err := openWrites(ctx, firestorepb.NewFirestoreClient(conn))
	if err != nil {
		return err
	}
	for {
		n++
		if n%2 == 0 {
			if err := streamPair(stream, n); err != nil {
				return err
			}
			fmt.Println("ack", n)
			continue
		}
		err := c.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
			for _, side := range []string{"left", "right"} {
				data := map[string]any{"n": n, "tags": []string{"a", strconv.Itoa(n % 7)}, "m": map[string]any{"k": n / 2}}
				if err := tx.Set(c.Collection(side).Doc(strconv.Itoa(n)), data); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Println("ack", n)
	}
}

func streamPair(s firestorepb.Firestore_WriteClient, n int) error {
	req := &firestorepb.WriteRequest{}
	for _, side := range []string{"left", "right"} {
		doc := &firestorepb.Document{Name: fmt.Sprint(benchDatabase, "/documents/", side, "/", n), Fields: map[string]*firestorepb.Value{"n": num(n)}}
		req.Writes = append(req.Writes, &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: doc}})
	}
	if err := s.Send(req); err != nil {
		return err
	}
	_, err := s.Recv()
	return err
}
