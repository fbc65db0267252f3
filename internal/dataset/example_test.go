package dataset_test

import (
	"fmt"
	"strings"

	"exportd/internal/dataset"
	"exportd/jobs"
)

// A dataset is a value: the routes, their parameters, the header of the file, the query and its indexes
// follow from it.
func ExampleParse() {
	set, err := dataset.Parse("datasets.yaml", []byte(`
datasets:
  - name: orders
    title: Orders
    collection: Orders
    gate: {orgField: orgId}
    sort: {field: number, type: text, ascending: true}
    filters:
      - {param: status, field: status, equals: text, values: [open, paid]}
    columns: [number, status, {path: placedAt, type: time}, {path: customer.name, name: customerName}]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	orders := set.Get("orders")
	fmt.Println("routes:", "/"+orders.Name, "/"+orders.Name+"/export")
	fmt.Println("header:", strings.Join(orders.Headers(), ","))
	for _, c := range orders.Query("org1", jobs.Params{"status": "open"}).Conditions {
		fmt.Println("where:", c.Field, c.Value)
	}
	for _, index := range orders.Indexes() {
		var fields []string
		for _, f := range index.Fields {
			fields = append(fields, f.Path)
		}
		fmt.Println("index:", index.Collection, strings.Join(fields, ", "))
	}
	// Output:
	// routes: /orders /orders/export
	// header: id,number,status,placedAt,customerName
	// where: orgId org1
	// where: status open
	// index: Orders orgId, number, __name__
	// index: Orders orgId, status, number, __name__
}

// All faults of a file come at once, each with its line and what to do.
func ExampleFaults() {
	_, err := dataset.Parse("datasets.yaml", []byte(`datasets:
  - name: Orders
    title: Orders
    collection: ExportJobs
    gate: vip
    sort: {field: number, type: colour}
    columns: [number, number]
`))
	fmt.Println(err)
	// Output:
	// the datasets file datasets.yaml has 4 faults:
	//   line 2: datasets[0].name: "Orders" must be a name like purchase-orders, of lower-case letters, digits and hyphens, that is no other route's
	//   line 4: datasets[0].collection: "ExportJobs" must be the id of a collection at the root of the database that is not exportd's own
	//   line 6: datasets[0].sort.type: "colour" must be time, number or text
	//   line 7: datasets[0].columns[1]: is the second column of the field number
}
