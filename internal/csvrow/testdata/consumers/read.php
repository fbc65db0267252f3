<?php
// As read.mjs, by PHP's fgetcsv without its own escapes.
[, , $path, $delimiter, , $encoding] = $argv;
$file = fopen($encoding === 'utf-16' ? "php://filter/read=convert.iconv.UTF-16.UTF-8/resource=$path" : $path, 'rb');
while (($row = fgetcsv($file, null, $delimiter, '"', '')) !== false) {
    echo implode(',', array_map('bin2hex', $row)), "\n";
}
