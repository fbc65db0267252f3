# As read.mjs, by Ruby's own csv.
require "csv"

_, path, delimiter, _, encoding = ARGV
CSV.foreach(path, encoding == "utf-16" ? "rb:bom|utf-16le:utf-8" : "r:bom|utf-8", col_sep: delimiter, row_sep: "\r\n") do |row|
  puts row.map { |cell| cell.nil? ? "-" : cell.unpack1("H*") }.join(",")
end
