// Nightly exports the messages of a day, yesterday's if DAY does not name another, to vip-messages-DAY.csv.
//
// For cron: it may be run again at any time. Within 24 h that is the same job, whose file is taken up where
// it stopped; where that job failed, another one is made.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"exportd/api/client"
)

func main() {
	ctx := context.Background()
	day := cmp.Or(os.Getenv("DAY"), time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly))
	file := "vip-messages-" + day + ".csv"
	if _, err := os.Stat(file); err == nil {
		return // whole, as it only has its name when it is
	}
	api, err := client.New(client.Config{BaseURL: os.Getenv("URL"), Key: os.Getenv("KEY"), Secret: os.Getenv("SECRET")})
	if err != nil {
		log.Fatal(err)
	}
	workspace, medium := os.Getenv("W"), os.Getenv("M")
	request := client.Request{
		Kind: client.KindVipMessages, WorkspaceID: workspace, MediumID: medium, From: day, To: day,
		IdempotencyKey: "nightly-" + workspace + "-" + medium + "-" + day,
	}
	result, err := api.Export(ctx, request)
	if _, failed := errors.AsType[*client.FailedError](err); failed {
		request.IdempotencyKey, request.Fresh = "", true // that key stays with the job that failed
		result, err = api.Export(ctx, request)
	}
	if err == nil {
		err = result.Save(ctx, file)
	}
	if err != nil {
		log.Fatalf("%v (job %s)", err, client.JobIDOf(err))
	}
	fmt.Println(file, "has", result.TotalCount, "rows")
}
