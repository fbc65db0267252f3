package dataset

// VIPUsers are the VIP users of a workspace on a channel, the most valuable first.
var VIPUsers = &Dataset{
	Name: "vip-users", Row: "User", Title: "VIP users", Order: "Highest LTV first; equal LTVs by id.",
	Collection: "VipUsers",
	Sort:       Sort{Field: "ltv", Type: Number},
	Filters: []Filter{
		{Param: "hasBirthday", Field: "hasBirthday", Op: Equal, Type: Flag, Doc: "Only those whose birthday is known."},
		{Param: "birthdayMonth", Field: "birthdayMonth", Op: Equal, Type: Number, Min: 1, Max: 12, Implies: "hasBirthday",
			Doc: "Only those with a birthday in this month; implies `hasBirthday`."},
	},
	Columns: []Column{
		{Path: "id", Type: Text, Example: "u1"},
		{Path: "playerId", Type: Text, Example: "p1"},
		{Path: "displayName", Type: Text, Example: "Ada"},
		{Path: "avatarUrl", Type: Text},
		{Path: "language", Type: Text, Example: "en"},
		{Path: "country", Type: Text, Example: "GB"},
		{Path: "ltv", Type: Number, Example: "1234.5"},
		{Path: "currency", Type: Text, Example: "GBP"},
		{Path: "tier", Type: Text, Example: "gold"},
		{Path: "tags", Type: Array, Example: "early"},
		{Path: "firstSeenAt", Type: Time, Example: "2026-01-02T03:04:05.000000Z"},
		{Path: "lastSeenAt", Type: Time, Example: "2026-06-02T03:04:05.000000Z"},
		{Path: "personalInfo.fullName", Type: Text, Example: "Ada L"},
		{Path: "personalInfo.gender", Type: Text, Example: "female"},
		{Path: "personalInfo.birthday", Type: Date, Example: "1990-12-10"},
		{Path: "personalInfo.email", Type: Text, Example: "ada@example.com"},
		{Path: "personalInfo.phone", Type: Text},
		{Path: "personalInfo.city", Type: Text, Example: "London"},
	},
	Version: 1,
	List:    List{Rows: "users"},
}
