package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"exportd/internal/csvrow"
	"exportd/internal/dataset"
	"exportd/internal/localcloud"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// scanLines is line a: all rows of a query to CSV in memory, from a server that costs next to nothing (see
// replay), on one connection.
func (s *suite) scanLines(ctx context.Context) (_ []line, err error) {
	rows := s.sizes.scan
	server, err := startReplay(rows)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	reader, err := records.Open(ctx, records.Config{ProjectID: "replay", Emulator: server.addr, Connections: 1})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	client, err := firestore.NewClient(ctx, "replay", localcloud.GRPCOptions(server.addr)...)
	if err != nil {
		return nil, fmt.Errorf("open the official client: %w", err)
	}
	defer client.Close()
	conn, err := grpc.NewClient("passthrough:///"+server.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("dial replay: %w", err)
	}
	defer conn.Close()
	got, err := s.interleave(ctx, "scan", s.sizes.rounds,
		way{"ours", func(ctx context.Context) error { return want(rows)(scanOurs(ctx, reader, rows)) }},
		way{"official", func(ctx context.Context) error { return want(rows)(plainRows(ctx, client, rows, io.Discard)) }},
		way{"drop", func(ctx context.Context) error { return want(rows)(dropRows(ctx, conn)) }},
	)
	if err != nil {
		return nil, err
	}
	ours, official, drop := got[0], got[1], got[2]
	raw := func(s samples) string { return number(s.rate(rows)) + " rows/s" }
	return []line{
		{what: "scan and encode / official client, DataTo, encoding/csv", ours: raw(ours), against: raw(official), value: ours.faster(official), format: "%.2f×", target: atLeast(6)},
		{what: "scan and encode / receive and drop", ours: raw(ours), against: raw(drop), value: ours.faster(drop), format: "%.2f×", target: atLeast(0.45)},
		{what: "allocations per row of a scan beyond receive and drop", ours: fmt.Sprintf("%.3f", ours.allocsPer(rows)), against: fmt.Sprintf("%.3f", drop.allocsPer(rows)),
			value: max(0, ours.allocsPer(rows)-drop.allocsPer(rows)), format: "%.2f", target: atMost(0.05)},
	}, nil
}

// want turns a row count that is not rows into an error.
func want(rows int) func(int, error) error {
	return func(n int, err error) error {
		if err == nil && n != rows {
			err = fmt.Errorf("%d rows, want %d", n, rows)
		}
		return err
	}
}

// scanOurs is the row path of an export without its upload.
func scanOurs(ctx context.Context, r *records.Reader, rows int) (n int, err error) {
	e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{FormulaGuard: true})
	const size = 256 << 10
	buf := e.AppendHeader(make([]byte, 0, size+size/4))
	q := dataset.VIPMessages.Query(orgID, window(rows))
	err = r.Scan(ctx, q, vip.Range{}, time.Time{}, records.Options{}, func(doc []byte) (err error) {
		n++
		if len(buf) >= size {
			buf = buf[:0]
		}
		buf, err = e.AppendRow(buf, doc)
		return err
	})
	return n, err
}

// plainRows writes the rows of a window the way a plain handler does.
func plainRows(ctx context.Context, client *firestore.Client, rows int, out io.Writer) (n int, err error) {
	from, to := window(rows).Time(jobs.ParamFrom), window(rows).Time(jobs.ParamTo)
	it := client.Collection("VipMessages").Where("workspaceId", "==", workspaceID).Where("mediumId", "==", mediumID).
		Where("timestamp", ">=", from).Where("timestamp", "<", to).
		OrderBy("timestamp", firestore.Desc).OrderBy(firestore.DocumentID, firestore.Asc).Documents(ctx)
	defer it.Stop()
	w := csv.NewWriter(out)
	w.UseCRLF = true
	// The csv package has no way to ask for quotes that a header does not need.
	if _, err := io.WriteString(out, `id,"timestamp","playerId","displayName","kind","source","text","labels"`+"\r\n"); err != nil {
		return 0, err
	}
	for {
		snapshot, err := it.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			return n, fmt.Errorf("read messages: %w", err)
		}
		m := message{ID: snapshot.Ref.ID}
		if err := snapshot.DataTo(&m); err != nil {
			return n, fmt.Errorf("decode message: %w", err)
		}
		if err := w.Write(m.cells()); err != nil {
			return n, err
		}
		n++
	}
	w.Flush()
	return n, w.Error()
}

// dropRows receives all messages of a replay on one stream and drops their bytes: no client can be faster.
func dropRows(ctx context.Context, conn *grpc.ClientConn) (n int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, firestorepb.Firestore_RunQuery_FullMethodName,
		grpc.ForceCodecV2(dropCodec{encoding.GetCodecV2("proto")}))
	if err != nil {
		return 0, fmt.Errorf("start stream: %w", err)
	}
	req := &firestorepb.RunQueryRequest{Parent: replayDatabase + "/documents", QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: &firestorepb.StructuredQuery{}}}
	if err := errors.Join(stream.SendMsg(req), stream.CloseSend()); err != nil {
		return 0, fmt.Errorf("send query: %w", err)
	}
	var size int
	for {
		err := stream.RecvMsg(&size)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("receive: %w", err)
		}
		n++
	}
}

// dropCodec reads nothing of a response but its size.
type dropCodec struct{ encoding.CodecV2 }

// Unmarshal implements encoding.CodecV2.
func (c dropCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if size, ok := v.(*int); ok {
		*size += data.Len()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
