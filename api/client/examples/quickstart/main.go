// Quickstart exports messages to messages.csv. It may be interrupted and run again: then it attaches to the
// same job.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"exportd/api/client"
)

func main() {
	ctx := context.Background()
	api, err := client.New(client.Config{
		BaseURL: os.Getenv("URL"), Key: os.Getenv("KEY"), Secret: os.Getenv("SECRET"),
	})
	if err != nil {
		log.Fatal(err)
	}
	result, err := api.Export(ctx, client.Request{
		Kind: client.KindVipMessages, WorkspaceID: os.Getenv("W"), MediumID: os.Getenv("M"),
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
