package client_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"exportd/api/client"
)

// Exports a month of messages into a file. It may be interrupted and run again: then it
// attaches to the same job. TestRealService runs it.
func ExampleClient_Export() {
	ctx := context.Background()
	api, err := client.New(client.Config{
		BaseURL: os.Getenv("EXPORTD_URL"), Key: os.Getenv("EXPORTD_KEY"), Secret: os.Getenv("EXPORTD_SECRET"),
	})
	if err != nil {
		log.Fatal(err)
	}
	result, err := api.Export(ctx, client.Request{
		Kind: client.KindVipMessages, WorkspaceID: os.Getenv("WORKSPACE"), MediumID: os.Getenv("MEDIUM"),
		From: os.Getenv("FROM"), To: os.Getenv("TO"),
		OnProgress: func(j *client.Job) { fmt.Fprintf(os.Stderr, "%s: %d %%\n", j.State, j.Progress.Percent) },
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := result.Save(ctx, "messages.csv"); err != nil {
		log.Fatal(err)
	}
	fmt.Println("messages.csv has", result.TotalCount, "rows")
}
