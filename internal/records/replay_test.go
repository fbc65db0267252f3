package records

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

// replay is a Firestore that does nothing but send prepared messages, newest first, from where a request's
// cursor says. It costs as little as a server can, so that a benchmark of clients is one; and it misbehaves
// on demand.
type replay struct {
	firestorepb.UnimplementedFirestoreServer
	frames []mem.Buffer // RunQueryResponse, by place in the query's order
	// before is called with each request and the place it begins at; it may answer by itself.
	before func(ctx context.Context, req *firestorepb.RunQueryRequest, place int) error
	// each is called before the row at a place is sent.
	each     func(ctx context.Context, place int) error
	requests atomic.Int64
	addr     string
}

const replayProject = "replay"

var replayStart = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// replayQuery is the query that finds every row of a replay.
func replayQuery() vip.Query {
	return dataset.VIPMessages.Query("o", jobs.Params{
		"workspaceId": "ws-4f0c2a9be1", "mediumId": "ch-77d01c", "from": replayStart, "to": replayStart.AddDate(0, 0, 31)})
}

// replayTexts are messages of the lengths and scripts that people write.
var replayTexts = []string{
	"hi", "Can I change the card that my deposits come from?", "ok 👍",
	"thanks, that worked! One more thing: my bonus from yesterday is still pending, could you have a look?",
	"Добрый день, подскажите, пожалуйста, когда придёт вывод средств?", "she said \"please wait\" and then the chat closed",
	"I have been a customer here since 2019 and never had a problem with a withdrawal before this week",
}

// replayFields is the message at a place: ten share each timestamp.
func replayFields(place int) map[string]any {
	return map[string]any{
		"workspaceId": "ws-4f0c2a9be1", "mediumId": "ch-77d01c", "playerId": fmt.Sprintf("player-%07d", place*7919%1_000_000),
		"displayName": "Jordan Example", "timestamp": replayStart.AddDate(0, 0, 31).Add(-time.Duration(place/10+1) * time.Second),
		"kind": "text", "source": "user", "text": replayTexts[place%len(replayTexts)],
		"labels": []any{"complaint", "ai_x81hd02h"}[:place%3],
	}
}

func replayID(place int) string { return fmt.Sprintf("%020d", place) }

// startReplay serves rows messages until the test ends.
func startReplay(tb testing.TB, rows int) *replay {
	tb.Helper()
	s := &replay{}
	for i := range rows {
		doc := csvrowtest.Document("projects/"+replayProject+"/databases/(default)/documents/VipMessages/"+replayID(i), replayFields(i))
		b := protowire.AppendTag(nil, 1, protowire.BytesType)
		b = protowire.AppendBytes(b, doc)
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendBytes(b, []byte{8, 1})
		s.frames = append(s.frames, mem.SliceBuffer(b))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.addr = l.Addr().String()
	server := grpc.NewServer(grpc.ForceServerCodecV2(replayCodec{encoding.GetCodecV2("proto")}))
	firestorepb.RegisterFirestoreServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	return s
}

// reader returns a reader of the replay that retries at once.
func (s *replay) reader(tb testing.TB, change ...func(*Config)) *Reader {
	tb.Helper()
	cfg := Config{ProjectID: replayProject, Emulator: s.addr, Connections: 1, backoff: time.Nanosecond}
	for _, f := range change {
		f(&cfg)
	}
	r, err := Open(context.Background(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

// client returns the official client of the replay.
func (s *replay) client(tb testing.TB) *firestore.Client {
	tb.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	c, err := firestore.NewClient(context.Background(), replayProject, option.WithGRPCConn(conn))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// replayCodec sends buffers as they are.
type replayCodec struct{ encoding.CodecV2 }

func (c replayCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(mem.Buffer); ok {
		b.Ref()
		return mem.BufferSlice{b}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (s *replay) RunQuery(req *firestorepb.RunQueryRequest, stream firestorepb.Firestore_RunQueryServer) error {
	s.requests.Add(1)
	ctx, sq := stream.Context(), req.GetStructuredQuery()
	place := 0
	if c := sq.GetStartAt(); c != nil {
		name := c.GetValues()[1].GetReferenceValue()
		n, err := strconv.Atoi(strings.TrimLeft(name[strings.LastIndexByte(name, '/')+1:], "0"))
		if err != nil && !strings.HasSuffix(name, replayID(0)) {
			return err
		}
		if place = n; !c.GetBefore() {
			place++
		}
	}
	if s.before != nil {
		if err := s.before(ctx, req, place); err != nil {
			return err
		}
	}
	end := len(s.frames)
	if sq.GetLimit() != nil {
		end = min(end, place+int(sq.GetLimit().GetValue()))
	}
	for ; place < end; place++ {
		if s.each != nil {
			if err := s.each(ctx, place); err != nil {
				return err
			}
		}
		if err := stream.SendMsg(s.frames[place]); err != nil {
			return err
		}
	}
	return nil
}
