package main

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"exportd/internal/vip"
	"exportd/jobs"
)

const (
	commitWrites    = 500 // the most that Firestore's own clients send
	commitsInFlight = 4
)

// load commits the messages that are missing of the first rows, and says how many it wrote.
func (b *bed) load(ctx context.Context, rows int) (int, error) {
	have, err := b.reader.Count(ctx, vip.NewQuery(jobs.KindMessages, window(rows)), vip.Range{}, time.Time{}, 0)
	if err != nil {
		return 0, fmt.Errorf("count messages: %w", err)
	}
	if int(have) == rows {
		return 0, nil
	}
	conn, err := grpc.NewClient("passthrough:///"+b.cfg.FirestoreHost, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, fmt.Errorf("dial Firestore: %w", err)
	}
	defer conn.Close()
	client := firestorepb.NewFirestoreClient(conn)
	database := "projects/" + b.cfg.ProjectID + "/databases/" + b.cfg.DatabaseID
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(commitsInFlight)
	for from := 0; from < rows && gctx.Err() == nil; from += commitWrites {
		g.Go(func() error {
			req := &firestorepb.CommitRequest{Database: database}
			for i := from; i < min(rows, from+commitWrites); i++ {
				req.Writes = append(req.Writes, &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: document(database, i)}})
			}
			if _, err := client.Commit(gctx, req); err != nil {
				return fmt.Errorf("commit messages: %w", err)
			}
			return nil
		})
	}
	return rows, g.Wait()
}
