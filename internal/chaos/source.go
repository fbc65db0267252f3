package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/demo"
)

// changeSource writes, changes and deletes messages of the exported window all the while, so that a job that
// reads at more than one time would show. Returns the number of writes.
func (in *inspector) changeSource(ctx context.Context, rng *rand.Rand, facts demo.Summary) int {
	from, _ := time.Parse(time.DateOnly, facts.From)
	messages := in.firestore.Collection("VipMessages")
	n := 0
	for pause(ctx, 100*time.Millisecond) {
		ref := messages.Doc(fmt.Sprintf("chaos-%03d", rng.IntN(300)))
		var err error
		if rng.IntN(3) == 0 {
			_, err = ref.Delete(ctx)
		} else {
			_, err = ref.Set(ctx, map[string]any{
				"workspaceId": facts.WorkspaceID, "mediumId": facts.MediumID, "kind": "text", "source": "user", "playerId": "chaos",
				"displayName": "Chaos", "text": fmt.Sprintf("change %d", n), "labels": []string{"ai_chaos"},
				"timestamp": from.Add(time.Duration(rng.Int64N(int64(31 * 24 * time.Hour)))),
			}, firestore.MergeAll)
		}
		if err == nil {
			n++ // what failed is not of interest: the script makes writes fail
		}
	}
	return n
}
